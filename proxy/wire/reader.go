package wire

import (
	"encoding/binary"
	"errors"
	"io"
)

// ErrNoStartup is what Reader.Startup returns when the peer left without having sent a byte, as port scanners and
// health checks do. There is nothing to say to it, and nothing to log.
var ErrNoStartup = errors.New("connection closed before the startup packet")

// Reader reads messages, one at a time, from a connection that blocks. It is for handshakes, where messages are few and
// small; it reads no more than the peer sent at once, and Leftover tells what that was beyond the messages taken. Not
// safe for concurrent use.
type Reader struct {
	r   io.Reader
	buf []byte // read and not taken yet is buf[at:]
	at  int
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Leftover is what was read and is in no message taken so far. It is a view, valid until the next read.
func (r *Reader) Leftover() []byte { return r.buf[r.at:] }

// More reads what the peer sends next, and takes nothing of it.
func (r *Reader) More() error { return r.fill(len(r.Leftover()) + 1) }

// fill reads until n bytes are there. It grows the buffer as bytes arrive, never because a length was claimed.
func (r *Reader) fill(n int) error {
	for len(r.buf)-r.at < n {
		if r.at > 0 {
			r.buf = r.buf[:copy(r.buf, r.buf[r.at:])]
			r.at = 0
		}
		if len(r.buf) == cap(r.buf) {
			grown := make([]byte, len(r.buf), max(1024, 2*cap(r.buf)))
			copy(grown, r.buf)
			r.buf = grown
		}
		m, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+m]
		if err != nil && len(r.buf)-r.at < n {
			return err
		}
	}
	return nil
}

// Message reads a message whose header claims at most limit bytes. body is valid until the next call. The errors are
// ErrMessageLength, io.EOF between messages, io.ErrUnexpectedEOF within one, and those of the connection.
func (r *Reader) Message(limit int) (typ byte, body []byte, err error) {
	if err := r.fill(HeaderLen); err != nil {
		return 0, nil, r.eof(err)
	}
	typ, n, err := Frame(r.buf[r.at:])
	if err != nil {
		return typ, nil, err
	}
	if n-1 > limit {
		return typ, nil, ErrMessageLength
	}
	if err := r.fill(n); err != nil {
		return typ, nil, r.eof(err)
	}
	body = r.buf[r.at+HeaderLen : r.at+n]
	r.at += n
	return typ, body, nil
}

// Startup reads a startup packet and returns it without its length field: what DecodeStartup takes. It is valid until
// the next call. The errors are ErrNoStartup, ErrStartupIncomplete, ErrStartupLength, and those of the connection.
func (r *Reader) Startup() ([]byte, error) {
	if err := r.fill(4); err != nil {
		return nil, r.startupEOF(err)
	}
	n := int64(binary.BigEndian.Uint32(r.buf[r.at:])) - 4
	if n < 4 || n > MaxStartup {
		return nil, ErrStartupLength
	}
	if err := r.fill(4 + int(n)); err != nil {
		return nil, r.startupEOF(err)
	}
	packet := r.buf[r.at+4 : r.at+4+int(n)]
	r.at += 4 + int(n)
	return packet, nil
}

func (r *Reader) eof(err error) error {
	if err == io.EOF && len(r.buf) > r.at {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) startupEOF(err error) error {
	if err != io.EOF {
		return err
	}
	if len(r.buf) > r.at {
		return ErrStartupIncomplete
	}
	return ErrNoStartup
}
