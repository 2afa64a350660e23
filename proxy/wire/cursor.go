package wire

import (
	"bytes"
	"encoding/binary"
	"math"
)

// cursor reads a message's body from front to back. After the first error everything it returns is empty, so that a
// decoder looks at err once, at its end.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

// take cuts n bytes off. The result's capacity ends with it, so that an append by its reader can't write into what
// follows.
func (c *cursor) take(n int) []byte {
	if c.err != nil || n < 0 || n > len(c.b) {
		c.fail(ErrShortMessage)
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if v := c.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if v := c.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// string cuts off a string without its NUL.
func (c *cursor) string() []byte {
	if c.err != nil {
		return nil
	}
	i := bytes.IndexByte(c.b, 0)
	if i < 0 {
		c.fail(ErrString)
		return nil
	}
	v := c.b[:i:i]
	c.b = c.b[i+1:]
	return v
}

// value cuts off a value with its length; nil is NULL.
func (c *cursor) value() []byte {
	n := c.uint32()
	if n == math.MaxUint32 {
		return nil
	}
	if n > math.MaxInt32 {
		c.fail(ErrShortMessage) // as Postgres calls a negative length
		return nil
	}
	return c.take(int(n))
}

func (c *cursor) formats() Formats { return Formats(c.take(2 * int(c.uint16()))) }

func (c *cursor) values() Values {
	n := int(c.uint16())
	raw := c.b
	for i := 0; i < n && c.err == nil; i++ {
		c.value()
	}
	if c.err != nil {
		return Values{}
	}
	size := len(raw) - len(c.b)
	return Values{n: n, raw: raw[:size:size]}
}

// end is the decoder's error: what went wrong, or that the message goes on.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail(ErrMessageFormat)
	}
	return c.err
}
