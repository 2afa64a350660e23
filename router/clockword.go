package router

// ClockWord tells whether a value, read as date or time input, might read the clock: it holds now, today, tomorrow or
// yesterday as a run of letters (that is how ParseDateTime splits its input), in whatever case. It is meant for
// parameter values of every type in either format: a text in binary format can be cast to a date, too.
//
// Double quotes and backslashes are looked through, since the input of arrays, rows and ranges removes them before
// it reads the element: '{n\ow}', '["n"ow,)'.
func ClockWord(value []byte) bool {
	for i := 0; i < len(value); {
		if letter := value[i] | 0x20; letter < 'a' || letter > 'z' {
			i++
			continue
		}
		var word [10]byte
		n := 0
		for ; i < len(value); i++ {
			c := value[i]
			if c == '"' || c == '\\' {
				continue
			}
			if c |= 0x20; c < 'a' || c > 'z' {
				break
			}
			if n < len(word) {
				word[n] = c
			}
			n++
		}
		switch n {
		case 3:
			if string(word[:3]) == "now" {
				return true
			}
		case 5:
			if string(word[:5]) == "today" {
				return true
			}
		case 8:
			if string(word[:8]) == "tomorrow" {
				return true
			}
		case 9:
			if string(word[:9]) == "yesterday" {
				return true
			}
		}
	}
	return false
}
