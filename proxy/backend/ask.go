package backend

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// Ask runs one query, by the simple protocol, on a connection that has just been logged in to, and returns the first
// column of its last row as text ("" for NULL or no row). It blocks until ctx ends. After an error the connection isn't
// fit for anything.
func (l *Login) Ask(ctx context.Context, sql string) (string, error) {
	deadline, _ := ctx.Deadline()
	if err := l.Conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := l.Conn.Write(wire.AppendQuery(nil, sql)); err != nil {
		return "", err
	}
	r := wire.NewReader(io.MultiReader(bytes.NewReader(l.Leftover), l.Conn))
	l.Leftover = nil
	var answer string
	var failed error
	for {
		typ, body, err := r.Message(wire.MaxSmallMessage)
		if err != nil {
			return "", err
		}
		switch typ {
		case wire.MsgDataRow:
			values, err := wire.DecodeDataRow(body)
			if err != nil {
				return "", err
			}
			v, _ := values.Next()
			answer = string(v)
		case wire.MsgErrorResponse:
			e, err := wire.DecodeError(body)
			if err != nil {
				return "", err
			}
			failed = e
		case wire.MsgReadyForQuery:
			if failed != nil {
				return "", failed
			}
			l.Leftover = append([]byte(nil), r.Leftover()...)
			return answer, l.Conn.SetDeadline(time.Time{})
		case wire.MsgCopyInResponse, wire.MsgCopyOutResponse, wire.MsgCopyBothResponse:
			return "", errors.New("an answer of another kind than rows")
		}
	}
}
