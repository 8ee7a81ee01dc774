package remotewrite

import (
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// errWire is the error of a message that is no protobuf, or not of its type.
var errWire = errors.New("the message is damaged: it is no protobuf, or of another type")

// next takes a field off data.
func next(data []byte) (f wireField, rest []byte, err error) {
	id, kind, n := protowire.ConsumeTag(data)
	if n < 0 {
		return f, nil, errWire
	}
	f.id, f.kind, data = id, kind, data[n:]
	switch kind {
	case protowire.VarintType:
		f.number, n = protowire.ConsumeVarint(data)
	case protowire.Fixed64Type:
		f.number, n = protowire.ConsumeFixed64(data)
	case protowire.BytesType:
		f.content, n = protowire.ConsumeBytes(data)
	default:
		n = protowire.ConsumeFieldValue(id, kind, data)
	}
	if n < 0 {
		return f, nil, errWire
	}
	return f, data[n:], nil
}

// wireField is one field of a message: number is that of a varint or a fixed64, content that of the rest.
type wireField struct {
	id      protowire.Number
	kind    protowire.Type
	number  uint64
	content []byte
}

// bytes is a field that must be bytes, a string or a message.
func (f *wireField) bytes() ([]byte, error) {
	if f.kind != protowire.BytesType {
		return nil, errWire
	}
	return f.content, nil
}

// timeSeries is one series of a request taken apart. Its bytes are those of the request.
type timeSeries struct {
	labels     []byte // what tells it apart: for version 1 its fields as they stand
	samples    []sample
	histograms int // native ones, which cannot be stored
	kind       uint64
}

type sample struct {
	value float64
	time  int64 // in milliseconds
}

// Numbers of fields, of the messages prometheus.WriteRequest and io.prometheus.write.v2.Request.
const (
	requestSeries  = 1
	requestSymbols = 4
	requestSeries2 = 5

	seriesLabels      = 1
	seriesSamples     = 2
	seriesExemplars   = 3 // histograms in version 2
	seriesHistograms  = 4 // exemplars in version 2
	seriesHistograms2 = 3
	seriesMetadata    = 5
	metadataType      = 1

	sampleValue, sampleTime = 1, 2
	labelName, labelValue   = 1, 2
)

// parse takes a series of version 1 apart.
func (s *timeSeries) parse(data []byte) error {
	s.samples, s.histograms, s.labels = s.samples[:0], 0, nil
	begin, end := 0, 0 // of the labels in data, when they lie together
	var apart []byte   // the labels, when they do not
	for rest := data; len(rest) > 0; {
		at := len(data) - len(rest)
		f, after, err := next(rest)
		if err != nil {
			return err
		}
		until := len(data) - len(after)
		switch f.id {
		case seriesLabels:
			if _, err := f.bytes(); err != nil {
				return err
			}
			switch {
			case end == 0:
				begin, end = at, until
			case end == at && apart == nil:
				end = until
			case apart == nil:
				apart = append(append(apart, data[begin:end]...), data[at:until]...)
			default:
				apart = append(apart, data[at:until]...)
			}
		case seriesSamples:
			if err := s.sample(&f); err != nil {
				return err
			}
		case seriesHistograms:
			s.histograms++
		}
		rest = after
	}
	if s.labels = data[begin:end]; apart != nil {
		s.labels = apart
	}
	return nil
}

// sample adds one sample.
func (s *timeSeries) sample(f *wireField) error {
	rest, err := f.bytes()
	if err != nil {
		return err
	}
	var one sample
	for len(rest) > 0 {
		var f wireField
		if f, rest, err = next(rest); err != nil {
			return err
		}
		switch {
		case f.id == sampleValue && f.kind == protowire.Fixed64Type:
			one.value = math.Float64frombits(f.number)
		case f.id == sampleTime && f.kind == protowire.VarintType:
			one.time = int64(f.number)
		case f.id == sampleValue || f.id == sampleTime:
			return errWire
		}
	}
	s.samples = append(s.samples, one)
	return nil
}

// parse2 takes a series of version 2 apart; its labels become fields as in version 1, in scratch.
func (s *timeSeries) parse2(data []byte, symbols [][]byte, scratch []byte) error {
	s.samples, s.histograms, s.kind = s.samples[:0], 0, 0
	s.labels = scratch[:0]
	for rest := data; len(rest) > 0; {
		f, after, err := next(rest)
		if err != nil {
			return err
		}
		rest = after
		switch f.id {
		case seriesLabels:
			if err := s.references(&f, symbols); err != nil {
				return err
			}
		case seriesSamples:
			if err := s.sample(&f); err != nil {
				return err
			}
		case seriesHistograms2:
			s.histograms++
		case seriesMetadata:
			metadata, err := f.bytes()
			if err != nil {
				return err
			}
			for len(metadata) > 0 {
				var m wireField
				if m, metadata, err = next(metadata); err != nil {
					return err
				}
				if m.id == metadataType {
					s.kind = m.number
				}
			}
		}
	}
	return nil
}

// references adds the labels that packed numbers of symbols say.
func (s *timeSeries) references(f *wireField, symbols [][]byte) error {
	rest, err := f.bytes()
	if err != nil {
		return err
	}
	symbol := func() ([]byte, error) {
		number, n := protowire.ConsumeVarint(rest)
		if n < 0 {
			return nil, errWire
		}
		rest = rest[n:]
		if number >= uint64(len(symbols)) {
			return nil, errWire
		}
		return symbols[number], nil
	}
	for len(rest) > 0 {
		name, err := symbol()
		if err != nil {
			return err
		}
		value, err := symbol()
		if err != nil {
			return err
		}
		size := protowire.SizeTag(labelName) + protowire.SizeBytes(len(name)) + protowire.SizeTag(labelValue) + protowire.SizeBytes(len(value))
		s.labels = protowire.AppendTag(s.labels, seriesLabels, protowire.BytesType)
		s.labels = protowire.AppendVarint(s.labels, uint64(size))
		s.labels = protowire.AppendBytes(protowire.AppendTag(s.labels, labelName, protowire.BytesType), name)
		s.labels = protowire.AppendBytes(protowire.AppendTag(s.labels, labelValue, protowire.BytesType), value)
	}
	return nil
}

// label is one label of a series.
type label struct{ name, value string }

// parseLabels returns the labels of a series, copied.
func parseLabels(data []byte) (labels []label, err error) {
	for len(data) > 0 {
		var f wireField
		if f, data, err = next(data); err != nil {
			return nil, err
		}
		var one label
		for rest := f.content; len(rest) > 0; {
			if f, rest, err = next(rest); err != nil {
				return nil, err
			}
			if f.id != labelName && f.id != labelValue {
				continue
			}
			text, err := f.bytes()
			if err != nil {
				return nil, err
			}
			if f.id == labelName {
				one.name = string(text)
			} else {
				one.value = string(text)
			}
		}
		labels = append(labels, one)
	}
	return labels, nil
}
