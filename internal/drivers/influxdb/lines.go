package influxdb

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/timeseries"
)

// lines are points in line protocol, times in seconds:
//
//	measurement,tag=value field=value time
//
// Numbers have no suffix, so that all fields are floats, as those of ntopng.
func lines(points []timeseries.Point) []byte {
	var dst []byte
	flats := make(map[*timeseries.Schema]*drivers.Flat)
	var tags []drivers.FlatTag
	for i := range points {
		p := &points[i]
		flat := flats[p.Schema]
		if flat == nil {
			flat = drivers.NewFlat(p.Schema)
			flats[p.Schema] = flat
		}
		dst = AppendMeasurement(dst, p.Schema.Name)
		tags = flat.Append(tags[:0], p.Tags)
		for _, t := range tags {
			dst = append(dst, ',')
			dst = AppendKey(dst, t.Name)
			dst = append(dst, '=')
			dst = AppendKey(dst, storedValue(t.Value))
		}
		sep := byte(' ')
		for m, v := range p.Values {
			if math.IsNaN(v) {
				continue
			}
			dst = append(dst, sep)
			dst = AppendKey(dst, p.Schema.Metrics[m])
			dst = append(dst, '=')
			dst = AppendNumber(dst, v)
			sep = ','
		}
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Time, 10)
		dst = append(dst, '\n')
	}
	return dst
}

// AppendMeasurement appends the name of a measurement. It may not end with a "\", nor hold a line break.
func AppendMeasurement(dst []byte, name string) []byte { return appendEscaped(dst, name, ", ") }

// AppendKey appends the name of a tag or field, or the value of a tag. It may not
// end with a "\", nor hold a line break.
func AppendKey(dst []byte, s string) []byte { return appendEscaped(dst, s, ",= ") }

func appendEscaped(dst []byte, s, special string) []byte {
	for i := range len(s) { // most need none
		if c := s[i]; c == special[0] || c == special[1] || c == special[len(special)-1] {
			return escapeFrom(dst, s, i, special)
		}
	}
	return append(dst, s...)
}

// escapeFrom escapes s, of which i bytes need nothing.
func escapeFrom(dst []byte, s string, i int, special string) []byte {
	dst = append(dst, s[:i]...)
	for ; i < len(s); i++ {
		if strings.IndexByte(special, s[i]) >= 0 {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// storedValue is a tag value as the server keeps it. A "\" at the end would escape
// what comes after the value, and cannot be written any other way.
func storedValue(value string) string {
	if rest, ok := strings.CutSuffix(value, `\`); ok {
		return rest + string(drivers.EscapedByte('\\'))
	}
	return value
}

// AppendNumber appends the value of a field, which must be finite.
func AppendNumber(dst []byte, v float64) []byte {
	if n := int64(v); float64(n) == v && n < 1<<53 && n > -1<<53 {
		return strconv.AppendInt(dst, n, 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// quoteName is a name in InfluxQL.
func quoteName(name string) string { return `"` + nameEscaper.Replace(name) + `"` }

// quoteValue is a text in InfluxQL.
func quoteValue(value string) string { return `'` + valueEscaper.Replace(value) + `'` }

var (
	nameEscaper  = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	valueEscaper = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`)
)

// quotePrefix is a regular expression for the measurements with a prefix.
func quotePrefix(prefix string) string {
	return "/^" + strings.ReplaceAll(quoteMeta(prefix), "/", `\/`) + ":/"
}

// conditions are those on tags, as InfluxQL has them; there is at least one.
func conditions(tags timeseries.Tags) string {
	names := make([]string, 0, len(tags))
	for name := range tags {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = quoteName(name) + "=" + quoteValue(storedValue(tags[name]))
	}
	return strings.Join(names, " AND ")
}
