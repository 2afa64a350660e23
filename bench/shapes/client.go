package shapes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// mode is how a statement is sent.
type mode int

const (
	simple       mode = iota // a Query
	extended                 // parameters and rows as text, types of parameters inferred
	declared                 // … declared
	binaryRows               // rows in binary
	binaryParams             // both in binary
	prepared                 // by the name of a prepared statement, again and again with other parameters
	modes
)

func (m mode) String() string {
	return [...]string{"simple", "extended", "extended, types declared", "extended, binary rows", "extended, binary", "prepared"}[m]
}

// oids are the types that parameters are declared with.
var oids = map[class]uint32{'i': pgtype.Int4OID, 's': pgtype.TextOID, 'b': pgtype.BoolOID, 'n': pgtype.NumericOID, 'u': pgtype.UUIDOID,
	'd': pgtype.DateOID, 'z': pgtype.TimestamptzOID, 'I': pgtype.Int4ArrayOID}

// answer is everything that a client is told: columns, rows, the command's tag; or an error.
func answer(ctx context.Context, conn *pgconn.PgConn, s Statement, m mode) (string, error) {
	var r *pgconn.Result
	switch m {
	case simple:
		list, err := conn.Exec(ctx, s.SQL).ReadAll()
		if err == nil && len(list) != 1 {
			return "", fmt.Errorf("%d answers", len(list))
		}
		if err != nil {
			return refusal(err)
		}
		r = list[0]
	case extended, binaryRows, declared:
		var types []uint32
		values := make([][]byte, len(s.Params))
		for i, p := range s.Params {
			values[i] = []byte(p.text)
			if m == declared {
				types = append(types, oids[p.class])
			}
		}
		var formats []int16
		if m == binaryRows {
			formats = []int16{pgtype.BinaryFormatCode}
		}
		r = conn.ExecParams(ctx, s.SQL, values, types, nil, formats).Read()
	case prepared:
		d := s.on[conn]
		if d == nil {
			var err error
			if d, err = conn.Prepare(ctx, s.Name, s.SQL, nil); err != nil {
				return refusal(err)
			}
			s.on[conn] = d
		}
		values := make([][]byte, len(s.Params))
		for i, p := range s.Params {
			values[i] = []byte(p.text)
		}
		r = conn.ExecPrepared(ctx, s.Name, values, nil, nil).Read()
	case binaryParams:
		d, err := conn.Prepare(ctx, "", s.SQL, nil)
		if err != nil {
			return refusal(err)
		}
		values, formats := make([][]byte, len(s.Params)), make([]int16, len(s.Params))
		for i, p := range s.Params {
			values[i], formats[i] = binaryOf(d.ParamOIDs[i], p.text)
		}
		r = conn.ExecParams(ctx, s.SQL, values, d.ParamOIDs, formats, []int16{pgtype.BinaryFormatCode}).Read()
	}
	if r.Err != nil {
		return refusal(r.Err)
	}
	var b strings.Builder
	for _, f := range r.FieldDescriptions {
		fmt.Fprintf(&b, "%s:%d.%d %d %d %d %d\n", f.Name, f.TableOID, f.TableAttributeNumber, f.DataTypeOID, f.DataTypeSize, f.TypeModifier, f.Format)
	}
	for _, row := range r.Rows {
		for _, v := range row {
			if v == nil {
				b.WriteString("NULL ")
				continue
			}
			fmt.Fprintf(&b, "%q ", v)
		}
		b.WriteByte('\n')
	}
	b.WriteString(r.CommandTag.String())
	return b.String(), nil
}

// refusal is an error of the server's as an answer.
func refusal(err error) (string, error) {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Severity == "FATAL" {
		return "", err
	}
	return fmt.Sprintf("%s %s %s %s %d", refused, pg.Code, pg.Message, pg.Detail, pg.Position), nil
}

const refused = "ERROR"

// binaryOf is a parameter in binary, if there is a binary form of its type that is known here.
func binaryOf(oid uint32, text string) ([]byte, int16) {
	m := pgtype.NewMap()
	if t, ok := m.TypeForOID(oid); ok {
		if v, err := t.Codec.DecodeValue(m, oid, pgtype.TextFormatCode, []byte(text)); err == nil {
			if b, err := m.Encode(oid, pgtype.BinaryFormatCode, v, nil); err == nil {
				return b, pgtype.BinaryFormatCode
			}
		}
	}
	return []byte(text), pgtype.TextFormatCode
}

// told asks Freshet about the last statement.
func told(ctx context.Context, conn *pgconn.PgConn, what string) (string, error) {
	if conn.TxStatus() == 'E' {
		return "", nil // it wouldn't be answered
	}
	list, err := conn.Exec(ctx, "SHOW freshet."+what).ReadAll()
	if err != nil {
		return "", err
	}
	return string(list[0].Rows[0][0]), nil
}

// write executes what may be several statements, or COPY with its data.
func write(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	var err error
	if command, data, ok := strings.Cut(sql, " FROM STDIN\n"); ok {
		_, err = conn.CopyFrom(ctx, strings.NewReader(data), command+" FROM STDIN")
	} else {
		_, err = conn.Exec(ctx, sql).ReadAll()
	}
	if err != nil {
		_, _ = conn.Exec(ctx, "ROLLBACK").ReadAll()
	}
	return err
}
