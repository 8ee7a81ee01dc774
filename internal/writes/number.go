package writes

import "strconv"

var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// ParseNumber reads the decimal number that text begins with, such as -12.5e3, and
// returns how many bytes it takes: 0 when there is none, or when it is too large for a
// float64. Words such as NaN and hexadecimal numbers are none.
func ParseNumber(text []byte) (value float64, size int) {
	i, negative := 0, false
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		negative = text[i] == '-'
		i++
	}
	var mantissa uint64
	digits, exponent := 0, 0
	begin := i
	for ; i < len(text) && text[i]-'0' < 10; i++ {
		mantissa = mantissa*10 + uint64(text[i]-'0')
	}
	digits = i - begin
	if i < len(text) && text[i] == '.' {
		i++
		begin = i
		for ; i < len(text) && text[i]-'0' < 10; i++ {
			mantissa = mantissa*10 + uint64(text[i]-'0')
		}
		exponent = begin - i
		digits += i - begin
	}
	if digits == 0 {
		return 0, 0
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		j, sign, power := i+1, 1, 0
		if j < len(text) && (text[j] == '-' || text[j] == '+') {
			if text[j] == '-' {
				sign = -1
			}
			j++
		}
		begin = j
		for ; j < len(text) && text[j]-'0' < 10; j++ {
			power = min(power*10+int(text[j]-'0'), 1<<20)
		}
		if j > begin { // otherwise the e is no part of it
			i = j
			exponent += sign * power
		}
	}
	// Up to 15 digits are exact, and one operation on exact numbers rounds right.
	if digits <= 15 && exponent >= -22 && exponent <= 22 {
		value = float64(mantissa)
		if exponent < 0 {
			value /= powers[-exponent]
		} else {
			value *= powers[exponent]
		}
		if negative {
			value = -value
		}
		return value, i
	}
	value, err := strconv.ParseFloat(string(text[:i]), 64)
	if err != nil {
		return 0, 0
	}
	return value, i
}

// ParseInteger reads a whole number that is all of text; false also when it does not fit.
func ParseInteger(text []byte) (value int64, ok bool) {
	if len(text) > 0 && len(text) < 19 {
		negative := text[0] == '-'
		digits := text
		if negative {
			digits = text[1:]
		}
		for _, c := range digits {
			if c-'0' > 9 {
				return 0, false
			}
			value = value*10 + int64(c-'0')
		}
		if negative {
			value = -value
		}
		return value, len(digits) > 0
	}
	value, err := strconv.ParseInt(string(text), 10, 64)
	return value, err == nil
}
