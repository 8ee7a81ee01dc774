package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/timeseries"
)

// zone is where the times of tables are; tests change it.
var zone = time.Local

const (
	defaultWidth = 80
	minTrend     = 8 // characters of a sparkline
	maxTrend     = 60
)

// terminalWidth is how many characters fit into a line of the terminal w
// writes to, 0 when it is none. COLUMNS goes before what the terminal says.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return cmp.Or(int(size.Col), defaultWidth)
}

// table is rows of cells that are written with aligned columns.
type table struct {
	indent string
	left   int // columns from the left that are aligned to the left; the rest to the right
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// widths returns how many characters each column takes.
func (t *table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// write prints the table; with a width above 0 columns that do not fit follow
// below in a table of their own, with the first column again.
func (t *table) write(w *bytes.Buffer, width int) {
	widths := t.widths()
	for from := 1; ; {
		to, used := from, len(t.indent)
		if len(widths) > 0 {
			used += widths[0]
		}
		for to < len(widths) && (to == from || width == 0 || used+2+widths[to] <= width) {
			used += 2 + widths[to]
			to++
		}
		for _, row := range t.rows {
			t.writeRow(w, row, widths, from, to)
		}
		if to >= len(widths) {
			return
		}
		w.WriteByte('\n')
		from = to
	}
}

func (t *table) writeRow(w *bytes.Buffer, row []string, widths []int, from, to int) {
	start := w.Len()
	w.WriteString(t.indent)
	for i, cell := range row {
		if i > 0 && (i < from || i >= to) {
			continue
		}
		if i > 0 {
			w.WriteString("  ")
		}
		padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i < t.left {
			w.WriteString(cell + padding)
		} else {
			w.WriteString(padding + cell)
		}
	}
	line := bytes.TrimRight(w.Bytes()[start:], " ")
	w.Truncate(start + len(line))
	w.WriteByte('\n')
}

// addTrends adds a column of sparklines, one for each row below the heading,
// as wide as the terminal allows; when there is no room it does nothing.
func (t *table) addTrends(width int, values func(i int) []float64) {
	room := width - len(t.indent) - 1
	for _, w := range t.widths() {
		room -= w + 2
	}
	if room < minTrend {
		return
	}
	lines, longest := []string{"TREND"}, len("TREND")
	for i := range t.rows[1:] {
		line := sparkline(values(i), min(room, maxTrend))
		lines, longest = append(lines, line), max(longest, utf8.RuneCountInString(line))
	}
	for i, line := range lines {
		t.rows[i] = append(t.rows[i], line+strings.Repeat(" ", longest-utf8.RuneCountInString(line)))
	}
}

// sparkline draws values, at most width of them: longer series by the mean of
// neighbours. Points without a value are spaces.
func sparkline(values []float64, width int) string {
	if len(values) > width {
		short := make([]float64, width)
		for i := range short {
			short[i] = mean(values[i*len(values)/width : (i+1)*len(values)/width])
		}
		values = short
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	low = min(low, 0) // so that the height shows the size, not only the change
	steps := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case high <= low:
			b.WriteRune(steps[0])
		default:
			b.WriteRune(steps[int(math.Round((v-low)/(high-low)*float64(len(steps)-1)))])
		}
	}
	return b.String()
}

func mean(values []float64) float64 {
	sum, n := 0.0, 0
	for _, v := range values {
		if !math.IsNaN(v) {
			sum += v
			n++
		}
	}
	return sum / float64(n) // NaN of none
}

// number renders v for a table: whole numbers as they are, others with six
// significant digits, "-" where there is no value.
func number(v float64) string {
	size := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return "-"
	case v == math.Trunc(v) && size < 1e15:
		return strconv.FormatFloat(v+0, 'f', 0, 64)
	case size < 1e-4 || size >= 1e15 || math.IsInf(v, 0):
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	decimals := max(0, 5-int(math.Floor(math.Log10(size))))
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// exact renders v for CSV, "" where there is no value.
func exact(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// word renders text, which may come from anywhere, so that it can be given to
// a shell again and cannot move the cursor of a terminal.
func word(text string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-.,:=/@%+", r))
	}
	shown := utf8.ValidString(text)
	bare := shown
	for _, r := range text {
		bare = bare && plain(r)
		shown = shown && (r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r))
	}
	switch {
	case bare:
		return text
	case shown:
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\'' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteString("'")
	return b.String()
}

// tagWords renders tags as arguments for weir query: those in order first, then the others by name.
func tagWords(tags timeseries.Tags, order []string) string {
	var list []string
	for _, name := range tagNames(tags, order) {
		list = append(list, word(name)+"="+word(tags[name]))
	}
	return strings.Join(list, " ")
}

// tagNames are the names in tags: those in order first, then the others sorted.
func tagNames(tags timeseries.Tags, order []string) []string {
	var names, rest []string
	for _, name := range order {
		if _, ok := tags[name]; ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for name := range tags {
		if !slices.Contains(names, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	return append(names, rest...)
}

// span renders a range in the zone, "2025-01-31 12:00:00 to 13:00:00 UTC".
func span(start, end int64, zone *time.Location) string {
	from, to := time.Unix(start, 0).In(zone), time.Unix(end, 0).In(zone)
	until := to.Format(time.DateTime)
	if from.Format(time.DateOnly) == to.Format(time.DateOnly) {
		until = to.Format(time.TimeOnly)
	}
	return fmt.Sprintf("%s to %s %s", from.Format(time.DateTime), until, to.Format("MST"))
}
