package prometheus

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/weirhq/weir/internal/statsd/tags"
)

// contentType is that of Prometheus' text format, in which a name may be used as it is.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// ServeHTTP shows all series as of the last flush, in the text format of Prometheus.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page := b.page()
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Vary", "Accept-Encoding")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = w.Write(page) // a scraper that goes away needs no answer
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	packed, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err == nil {
		_, _ = packed.Write(page) // as above
		_ = packed.Close()
	}
}

// page is all series as text.
func (b *Backend) page() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sort()
	page := make([]byte, 0, 1024+96*b.count)
	for _, f := range b.families {
		page = append(append(append(append(append(page, "# TYPE "...), f.name...), ' '), f.shown...), '\n')
		for _, s := range f.sorted {
			switch f.shown {
			case "summary":
				page = f.appendSummary(page, s)
			case "histogram":
				page = b.appendHistogram(page, f, s)
			default:
				page = appendLine(page, f.name, "", s.labels, "", 0, s.value)
			}
		}
	}
	return page
}

// sort makes the lists of families that changed. It is called with mu held.
func (b *Backend) sort() {
	for _, f := range b.families {
		if f.sorted != nil {
			continue
		}
		f.sorted = make([]*series, 0, len(f.series))
		for _, s := range f.series {
			f.sorted = append(f.sorted, s)
		}
		slices.SortFunc(f.sorted, func(x, y *series) int { return strings.Compare(x.labels, y.labels) })
	}
}

func (f *family) appendSummary(page []byte, s *series) []byte {
	for i, q := range f.quantiles {
		page = appendLine(page, f.name, "", s.labels, "quantile", q, s.parts[i])
	}
	page = appendLine(page, f.name, "_sum", s.labels, "", 0, s.sum)
	return appendLine(page, f.name, "_count", s.labels, "", 0, s.count)
}

func (b *Backend) appendHistogram(page []byte, f *family, s *series) []byte {
	sum := 0.0
	for i, bound := range b.config.Buckets {
		sum += s.parts[i]
		page = appendLine(page, f.name, "_bucket", s.labels, "le", bound, sum)
	}
	// Not the sum of the parts, which may differ from it in the last digit when values are sampled.
	page = appendLine(page, f.name, "_bucket", s.labels, "le", math.Inf(1), s.count)
	page = appendLine(page, f.name, "_sum", s.labels, "", 0, s.sum)
	return appendLine(page, f.name, "_count", s.labels, "", 0, s.count)
}

// appendLine appends one sample. extra is a label with a number, "" for none.
func appendLine(page []byte, name, suffix, labels, extra string, bound, value float64) []byte {
	page = append(append(page, name...), suffix...)
	if labels != "" || extra != "" {
		page = append(append(page, '{'), labels...)
		if extra != "" {
			if labels != "" {
				page = append(page, ',')
			}
			page = append(append(page, extra...), '=', '"')
			page = append(appendNumber(page, bound), '"')
		}
		page = append(page, '}')
	}
	return append(appendNumber(append(page, ' '), value), '\n')
}

func appendNumber(dst []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(dst, "+Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64) // with NaN and -Inf as Prometheus has them
}

var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// appendLabels appends labels as they stand between braces.
func appendLabels(dst []byte, labels []tags.Tag) []byte {
	for i, l := range labels {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, l.Name...), '=', '"')
		dst = append(append(dst, labelEscaper.Replace(strings.ToValidUTF8(l.Value, "\uFFFD"))...), '"')
	}
	return dst
}
