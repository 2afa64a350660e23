package router

import "time"

// ParseTime reads a time as in `SET freshet.max_staleness = '500ms'`: a whole number, or one with a fraction, and one of
// Postgres' units (us, ms, s, min, h, d); m is a minute, too, as in flags. 0 needs no unit. It allocates nothing.
func ParseTime[T ~string | ~[]byte](text T) (time.Duration, bool) {
	i, n := 0, len(text)
	for i < n && text[i] == ' ' {
		i++
	}
	for n > i && text[n-1] == ' ' {
		n--
	}
	const most = 1 << 53 // of whole units; whatever is more is more than can be meant
	whole, fraction, scale, digits := int64(0), int64(0), int64(1), 0
	for ; i < n && text[i] >= '0' && text[i] <= '9'; i++ {
		if whole = whole*10 + int64(text[i]-'0'); whole > most {
			return 0, false
		}
		digits++
	}
	if i < n && text[i] == '.' {
		for i++; i < n && text[i] >= '0' && text[i] <= '9'; i++ {
			if scale < 1e9 {
				fraction, scale = fraction*10+int64(text[i]-'0'), scale*10
			}
			digits++
		}
	}
	if digits == 0 {
		return 0, false
	}
	for i < n && text[i] == ' ' {
		i++
	}
	var unit time.Duration
	switch string(text[i:n]) {
	case "us":
		unit = time.Microsecond
	case "ms":
		unit = time.Millisecond
	case "s":
		unit = time.Second
	case "min", "m":
		unit = time.Minute
	case "h":
		unit = time.Hour
	case "d":
		unit = 24 * time.Hour
	case "":
		return 0, whole == 0 && fraction == 0
	default:
		return 0, false
	}
	if whole > int64((1<<63-1)/unit)-1 {
		return 0, false
	}
	return time.Duration(whole)*unit + time.Duration(float64(fraction)/float64(scale)*float64(unit)), true
}
