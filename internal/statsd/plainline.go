package statsd

// powersOfTen that float64 holds exactly, so that one division rounds correctly.
var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// plainLine is the fast path for nearly every line on the wire:
//
//	key:number|c   key:number|ms   key:number|g   each with an optional |@rate
//
// where the key needs no sanitising and numbers are digits with an optional
// dot. It reads packet up to the end of its first line and returns the length
// read, or 0 and no effect when the line is of another form; line then parses
// it. What both can parse they understand alike, which a fuzz target checks.
func (p *Parser) plainLine(packet []byte) int {
	i := 0
	for i < len(packet) && keep[packet[i]] {
		i++
	}
	if i >= len(packet) || packet[i] != ':' {
		return 0
	}
	key := packet[:i]
	i++
	sign := byte(0)
	if i < len(packet) && (packet[i] == '-' || packet[i] == '+') {
		sign = packet[i]
		i++
	}
	number, n := plainNumber(packet[i:])
	i += n
	if n == 0 || i+1 >= len(packet) || packet[i] != '|' {
		return 0
	}
	v := &p.value
	v.Key, v.Weight, v.Signed = key, 1, false
	if sign == '-' {
		number = -number
	}
	switch packet[i+1] {
	case 'c':
		v.Kind = Counter
		i += 2
	case 'g':
		v.Kind, v.Signed = Gauge, sign != 0 && p.Dialect == Strict // DogStatsD's gauges are set to what they say
		i += 2
	case 'm':
		if i+2 >= len(packet) || packet[i+2] != 's' || sign == '-' {
			return 0
		}
		v.Kind = Timer
		i += 3
	default:
		return 0
	}
	if i+1 < len(packet) && packet[i] == '|' && packet[i+1] == '@' {
		rate, n := plainNumber(packet[i+2:])
		if n == 0 || rate == 0 && p.Dialect != Strict {
			return 0
		}
		v.Weight = 1 / rate
		i += 2 + n
	}
	if i < len(packet) {
		if packet[i] != '\n' {
			return 0
		}
		i++
	}
	if v.Kind == Counter {
		number *= v.Weight
	}
	v.Number = number
	p.OnValue(v)
	return i
}

// plainNumber reads digits with at most one dot from the beginning of text, at
// most 15 of them, which float64 holds exactly. It returns their length, 0 when
// there is no such number.
func plainNumber(text []byte) (number float64, length int) {
	mantissa, dot, i := uint64(0), -1, 0
	for ; i < len(text); i++ {
		if c := text[i] - '0'; c <= 9 {
			mantissa = mantissa*10 + uint64(c)
		} else if text[i] == '.' && dot < 0 {
			dot = i
		} else {
			break
		}
		if i > 15 {
			return 0, 0
		}
	}
	if dot < 0 {
		if i > 15 {
			return 0, 0
		}
		return float64(mantissa), i
	}
	if i == 1 { // a dot alone
		return 0, 0
	}
	return float64(mantissa) / powersOfTen[i-1-dot], i
}
