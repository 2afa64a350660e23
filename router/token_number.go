package router

import "math"

// number scans a number that begins with a digit or with a point and a digit. What Postgres calls trailing junk is bad.
func (s *scanner) number(i int) token {
	text := s.text
	t := token{kind: tokenInt4, start: i}
	value, overflow := uint64(0), false
	j := i
	if text[j] == '0' && j+1 < len(text) {
		var ok bool
		switch text[j+1] | 0x20 {
		case 'x':
			j, value, overflow, ok = s.radix(j+2, 16)
		case 'o':
			j, value, overflow, ok = s.radix(j+2, 8)
		case 'b':
			j, value, overflow, ok = s.radix(j+2, 2)
		default:
			ok = true
		}
		if !ok {
			return s.bad(i)
		}
	}
	if j == i {
		j, value, overflow = s.digits(j)
		point := false
		// "1..10" is 1, two points, 10.
		if j < len(text) && text[j] == '.' && (j == i || j+1 >= len(text) || text[j+1] != '.') {
			point = true
			j++
			if j < len(text) && classes[text[j]] == classDigit {
				j, _, _ = s.digits(j)
			}
		}
		exponent := false
		if j < len(text) && text[j]|0x20 == 'e' {
			k := j + 1
			if k < len(text) && (text[k] == '+' || text[k] == '-') {
				k++
			}
			if k >= len(text) || classes[text[k]] != classDigit {
				return s.bad(i)
			}
			j, _, _ = s.digits(k)
			exponent = true
		}
		if point || exponent {
			t.kind = tokenNumeric
		}
	}
	if j < len(text) && classes[text[j]]&(classIdent|classDigit) != 0 || s.dollarJunk(i, j) {
		return s.bad(i)
	}
	if t.kind == tokenInt4 {
		// make_const(): what fits in int4, then int8, then numeric. The grammar folds a minus into a constant before
		// that, so that the two values which fit only when negative are classes of their own.
		switch {
		case overflow || value > math.MaxInt64+1:
			t.kind = tokenNumeric
		case value == math.MaxInt64+1:
			t.kind = tokenInt8Min
		case value > math.MaxInt32+1:
			t.kind = tokenInt8
		case value == math.MaxInt32+1:
			t.kind = tokenInt4Min
		}
	}
	s.pos = j
	t.end = j
	return t
}

// dollarJunk tells whether the number from i up to j has a dollar after it which makes it junk: as "10$1" is a number
// and a parameter, but "1e5$1", for the longest match, the number 1 with the identifier e5$1 as its trail.
func (s *scanner) dollarJunk(i, j int) bool {
	if j >= len(s.text) || s.text[j] != '$' {
		return false
	}
	for j > i && classes[s.text[j-1]]&classCont != 0 {
		j--
		if classes[s.text[j]] == classIdent {
			return true
		}
	}
	return false
}

// digits scans decimal digits, which single underscores may separate.
func (s *scanner) digits(i int) (end int, value uint64, overflow bool) {
	text := s.text
	for i < len(text) {
		c := text[i]
		if c == '_' && i+1 < len(text) && classes[text[i+1]] == classDigit && classes[text[i-1]] == classDigit {
			i++
			continue
		}
		if classes[c] != classDigit {
			break
		}
		if value > (math.MaxUint64-9)/10 {
			overflow = true
		}
		value = value*10 + uint64(c-'0')
		i++
	}
	return i, value, overflow
}

// radix scans the digits after 0x, 0o or 0b; an underscore may stand before each of them.
func (s *scanner) radix(i int, base uint64) (end int, value uint64, overflow, ok bool) {
	text := s.text
	for i < len(text) {
		j := i
		if text[j] == '_' && j+1 < len(text) {
			j++
		}
		d := uint64(99)
		switch c := text[j]; {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			d = uint64(c|0x20-'a') + 10
		}
		if d >= base {
			break
		}
		if value > (math.MaxUint64-base)/base {
			overflow = true
		}
		value = value*base + d
		i = j + 1
		ok = true
	}
	return i, value, overflow, ok
}
