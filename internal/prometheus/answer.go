package prometheus

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// failure is an answer that says why there is none, in the form of Prometheus.
type failure struct {
	status  int    // of HTTP
	kind    string // "bad_data", "execution", "timeout", ...
	message string
}

func (f *failure) Error() string { return f.message }

// badParameter is a parameter that cannot be used: what it is, as it was sent, and what would be right.
func badParameter(name, value, right string) *failure {
	return &failure{http.StatusBadRequest, "bad_data", fmt.Sprintf("invalid parameter %q: cannot use %.100q: %s", name, value, right)}
}

func writeFailure(w http.ResponseWriter, f *failure) {
	text, _ := json.Marshal(struct { // of strings, which cannot fail
		Status string `json:"status"`
		Kind   string `json:"errorType"`
		Error  string `json:"error"`
	}{"error", f.kind, f.message})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(append(text, '\n')) // a client that went away needs no answer
}

// writeResult writes an answer piece by piece; it is never in memory as a whole.
func writeResult(w http.ResponseWriter, r *result) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 1<<15)
	_, _ = out.WriteString(`{"status":"success","data":`) // errors stay until Flush
	r.write(out)
	warnings, infos := r.warnings.AsStrings(r.query, 10, 10)
	writeNotes(out, "warnings", warnings)
	writeNotes(out, "infos", infos)
	_, _ = out.WriteString("}\n")
	_ = out.Flush() // a client that went away needs no answer
}

func writeNotes(w *bufio.Writer, name string, notes []string) {
	if len(notes) > 0 {
		_, _ = w.WriteString(`,"` + name + `":`)
		writeList(w, notes, writeString)
	}
}

func writeJSON(value any) func(*bufio.Writer) {
	return func(w *bufio.Writer) {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err) // it is made of strings and numbers
		}
		_, _ = w.Write(text)
	}
}

func writeList[T any](w *bufio.Writer, list []T, write func(*bufio.Writer, T)) {
	_ = w.WriteByte('[')
	for i, item := range list {
		if i > 0 {
			_ = w.WriteByte(',')
		}
		write(w, item)
	}
	_ = w.WriteByte(']')
}

// writeValue writes what a question came to.
func writeValue(w *bufio.Writer, value parser.Value) {
	_, _ = w.WriteString(`{"resultType":"` + string(value.Type()) + `","result":`)
	switch value := value.(type) {
	case promql.Vector:
		writeList(w, value, func(w *bufio.Writer, s promql.Sample) {
			_, _ = w.WriteString(`{"metric":`)
			writeLabels(w, s.Metric)
			_, _ = w.WriteString(`,"value":`)
			writeSample(w, s.T, s.F)
			_ = w.WriteByte('}')
		})
	case promql.Matrix:
		writeList(w, value, func(w *bufio.Writer, s promql.Series) {
			_, _ = w.WriteString(`{"metric":`)
			writeLabels(w, s.Metric)
			_, _ = w.WriteString(`,"values":`)
			writeList(w, s.Floats, func(w *bufio.Writer, p promql.FPoint) { writeSample(w, p.T, p.F) })
			_ = w.WriteByte('}')
		})
	case promql.Scalar:
		writeSample(w, value.T, value.V)
	case promql.String:
		_ = w.WriteByte('[')
		writeTime(w, value.T)
		_ = w.WriteByte(',')
		writeString(w, value.V)
		_ = w.WriteByte(']')
	}
	_ = w.WriteByte('}')
}

func writeLabels(w *bufio.Writer, l labels.Labels) {
	_ = w.WriteByte('{')
	first := true
	l.Range(func(l labels.Label) {
		if !first {
			_ = w.WriteByte(',')
		}
		first = false
		writeString(w, l.Name)
		_ = w.WriteByte(':')
		writeString(w, l.Value)
	})
	_ = w.WriteByte('}')
}

// writeSample writes a time and a value, which is text so that NaN and infinity can be told.
func writeSample(w *bufio.Writer, t int64, v float64) {
	_ = w.WriteByte('[')
	writeTime(w, t)
	_, _ = w.WriteString(`,"`)
	form := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		form = 'e'
	}
	_, _ = w.Write(strconv.AppendFloat(w.AvailableBuffer(), v, form, -1, 64))
	_, _ = w.WriteString(`"]`)
}

// writeTime writes milliseconds as seconds.
func writeTime(w *bufio.Writer, t int64) {
	buffer := w.AvailableBuffer()
	if t < 0 {
		buffer, t = append(buffer, '-'), -t
	}
	buffer = strconv.AppendInt(buffer, t/1000, 10)
	if rest := t % 1000; rest > 0 {
		buffer = append(buffer, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	}
	_, _ = w.Write(buffer)
}

func writeString(w *bufio.Writer, text string) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text) // a string cannot fail
			_, _ = w.Write(quoted)
			return
		}
	}
	_ = w.WriteByte('"')
	_, _ = w.WriteString(text)
	_ = w.WriteByte('"')
}
