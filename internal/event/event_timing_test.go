package event

import "testing"

// statusEvents are a service status as each generation sends it.
func statusEvents() []Event {
	events := make([]Event, 0, 2)
	for _, t := range []Type{MakeType(1, 24), MakeType(1, 29)} {
		r := sample(Lookup(t))
		r.Source = 3
		r.Set("output", TextValue([]byte("OK - load average: 0.10, 0.20, 0.30")))
		r.Set("perfdata", TextValue([]byte("load1=0.10;5;10;0; load5=0.20;4;6;0; load15=0.30;3;4;0;")))
		events = append(events, r.Encode())
	}
	return events
}

func perFamily(b *testing.B, f func(b *testing.B, e Event)) {
	for _, e := range statusEvents() {
		b.Run(e.Type.Family().String(), func(b *testing.B) {
			b.ReportAllocs()
			f(b, e)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkField(b *testing.B) {
	perFamily(b, func(b *testing.B, e Event) {
		f := Lookup(e.Type).Field("service_id") // near the end in legacy, near the start in protobuf
		for b.Loop() {
			if _, ok := e.Int(f); !ok {
				b.Fatal("not found")
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	perFamily(b, func(b *testing.B, e Event) {
		for b.Loop() {
			if err := Check(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	perFamily(b, func(b *testing.B, e Event) {
		for b.Loop() {
			if _, err := Decode(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	perFamily(b, func(b *testing.B, e Event) {
		var r Record
		for b.Loop() {
			if err := r.Read(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	perFamily(b, func(b *testing.B, e Event) {
		r, err := Decode(e)
		if err != nil {
			b.Fatal(err)
		}
		var payload []byte
		for b.Loop() {
			payload = r.AppendPayload(payload[:0])
		}
	})
}

func BenchmarkConvert(b *testing.B) {
	perFamily(b, func(b *testing.B, e Event) {
		r, err := Decode(e)
		if err != nil {
			b.Fatal(err)
		}
		to := Legacy + Protobuf - e.Type.Family()
		for b.Loop() {
			Convert(r, to, nil)
		}
	})
}

// known are objects that are decoded already.
type known struct{ host, service *Record }

func (k known) Host(uint64) *Record            { return k.host }
func (k known) Service(uint64, uint64) *Record { return k.service }

// From payload to payload, as in a pipeline of the other generation. In "apart"
// each step has memory of its own.
func BenchmarkConvertEvent(b *testing.B) {
	objects := known{sample(Lookup(MakeType(1, 30))), sample(Lookup(MakeType(1, 27)))}
	perFamily(b, func(b *testing.B, e Event) {
		var c Converter
		to := Legacy + Protobuf - e.Type.Family()
		for b.Loop() {
			if _, ok, err := c.Convert(e, to, objects); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("apart", func(b *testing.B) {
		perFamily(b, func(b *testing.B, e Event) {
			to := Legacy + Protobuf - e.Type.Family()
			for b.Loop() {
				r, err := Decode(e)
				if err != nil {
					b.Fatal(err)
				}
				Convert(r, to, objects).Encode()
			}
		})
	})
}

func BenchmarkBatch(b *testing.B) {
	events := make([]Event, 512)
	for i := range events {
		events[i] = statusEvents()[i%2]
	}
	batch := AppendBatch(nil, events)
	f := func(name string, work func() int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(batch)))
			n := 0
			for b.Loop() {
				n += work()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
	buffer := make([]byte, 0, len(batch))
	f("append", func() int {
		buffer = AppendBatch(buffer[:0], events)
		return len(events)
	})
	f("iterate", func() int {
		n := 0
		for it := NewIterator(batch); it.Next(); {
			n++
		}
		return n
	})
}
