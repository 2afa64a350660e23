package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/proxy/wire"
)

// unreadable is the error of a message that makes no sense. Its client has to go, as from anywhere else.
type unreadable struct{ error }

// extended answers a message of the extended protocol. text is that of the statement that an error is about.
func (c *console) extended(ctx context.Context, m consoleMessage) (text string, err error) {
	switch m.typ {
	case wire.MsgParse:
		p, err := wire.DecodeParse(m.body)
		if err != nil {
			return "", unreadable{err}
		}
		return string(p.Query), c.parse(p)
	case wire.MsgBind:
		b, err := wire.DecodeBind(m.body)
		if err != nil {
			return "", unreadable{err}
		}
		return "", c.bind(b)
	case wire.MsgDescribe:
		d, err := wire.DecodeDescribe(m.body)
		if err != nil {
			return "", unreadable{err}
		}
		return "", c.describe(d)
	case wire.MsgExecute:
		e, err := wire.DecodeExecute(m.body)
		if err != nil {
			return "", unreadable{err}
		}
		return "", c.executePortal(ctx, e)
	}
	d, err := wire.DecodeClose(m.body)
	if err != nil {
		return "", unreadable{err}
	}
	if d.Object == wire.ObjectStatement {
		delete(c.prepared, string(d.Name))
	} else {
		delete(c.portals, string(d.Name))
	}
	c.send(wire.AppendCloseComplete(c.scratch[:0]))
	return "", nil
}

func (c *console) parse(p wire.Parse) error {
	name := string(p.Name)
	switch {
	case name != "" && c.prepared[name] != nil:
		return wire.Errorf("42P05", "prepared statement %q already exists", name)
	case len(c.prepared) >= maxConsolePrepared:
		return wire.Errorf("54000", "too many prepared statements").WithHint("The console keeps %d for a client.", maxConsolePrepared)
	}
	delete(c.prepared, "")
	list, err := c.admin.Parse(string(p.Query))
	if err != nil {
		return err
	}
	st := &consoleStatement{}
	switch len(list) {
	case 0:
	case 1:
		st.Statement = list[0]
	default:
		return wire.Errorf("42601", "cannot insert multiple commands into a prepared statement")
	}
	c.prepared[name] = st
	c.send(wire.AppendParseComplete(c.scratch[:0]))
	return nil
}

func (c *console) bind(b wire.Bind) error {
	st := c.prepared[string(b.Statement)]
	if st == nil {
		return noSuchStatement(b.Statement)
	}
	if n := b.Params.Len(); n != 0 {
		return wire.Errorf("08P01", "bind message supplies %d parameters, but the console's commands have none", n).WithSeverity("ERROR")
	}
	portal := &consolePortal{statement: *st}
	if st.Statement != nil {
		if n := b.ResultFormats.Len(); n > 1 && n != len(st.Columns) {
			return wire.Errorf("08P01", "bind message has %d result formats but query has %d columns", n, len(st.Columns))
		}
		for i := range st.Columns {
			portal.formats = append(portal.formats, b.ResultFormats.Of(i))
		}
	}
	c.portals[string(b.Portal)] = portal
	c.send(wire.AppendBindComplete(c.scratch[:0]))
	return nil
}

func (c *console) describe(d wire.Named) error {
	var st *admin.Statement
	var formats []int16
	if d.Object == wire.ObjectStatement {
		p := c.prepared[string(d.Name)]
		if p == nil {
			return noSuchStatement(d.Name)
		}
		st = p.Statement
		c.send(wire.AppendParameterDescription(c.scratch[:0]))
	} else {
		p := c.portals[string(d.Name)]
		if p == nil {
			return noSuchPortal(d.Name)
		}
		st, formats = p.statement.Statement, p.formats
	}
	if st == nil || st.Columns == nil {
		c.send(wire.AppendNoData(c.scratch[:0]))
	} else {
		c.send(wire.AppendRowDescription(c.scratch[:0], columns(st.Columns, formats)...))
	}
	return nil
}

func noSuchPortal(name []byte) *wire.Error {
	return wire.Errorf("34000", "portal %q does not exist", string(name))
}

func (c *console) executePortal(ctx context.Context, e wire.Execute) error {
	p := c.portals[string(e.Portal)]
	if p == nil {
		return noSuchPortal(e.Portal)
	}
	st := p.statement.Statement
	switch {
	case st == nil:
		c.send(wire.AppendEmptyQueryResponse(c.scratch[:0]))
		return nil
	case p.ran && st.Columns == nil:
		return wire.Errorf("55000", "portal %q cannot be run", string(e.Portal))
	case !p.ran:
		result, err := c.execute(ctx, st)
		if err != nil {
			return err
		}
		p.ran, p.rows = true, result.Rows
	}
	rows := p.rows[p.sent:]
	more := e.MaxRows > 0 && int64(len(rows)) > int64(e.MaxRows)
	if more {
		rows = rows[:e.MaxRows]
	}
	for _, row := range rows {
		c.row(st.Columns, row, p.formats)
	}
	p.sent += len(rows)
	if more {
		c.send(wire.AppendPortalSuspended(c.scratch[:0]))
	} else {
		c.complete(st, len(rows))
	}
	return nil
}

// Types of the console's columns, as in pg_type.
var consoleTypes = [...]struct {
	oid  uint32
	size int16
}{
	admin.Text:  {wire.OIDText, -1},
	admin.Int:   {20, 8},
	admin.Int4:  {23, 4},
	admin.Float: {701, 8},
	admin.Bool:  {16, 1},
}

func columns(list []admin.Column, formats []int16) []wire.Column {
	out := make([]wire.Column, len(list))
	for i, c := range list {
		t := consoleTypes[c.Type]
		out[i] = wire.Column{Name: c.Name, TypeOID: t.oid, TypeSize: t.size, TypeModifier: -1}
		if formats != nil {
			out[i].Format = formats[i]
		}
	}
	return out
}

// row sends a row. Without formats it is all text.
func (c *console) row(cols []admin.Column, row []any, formats []int16) {
	values := make([][]byte, len(cols))
	for i, v := range row {
		if v != nil {
			values[i] = consoleValue(cols[i].Type, v, formats != nil && formats[i] == wire.FormatBinary)
		}
	}
	c.send(wire.AppendDataRow(c.scratch[:0], values...))
}

// consoleValue is a value as it is sent.
func consoleValue(typ admin.Type, v any, binaryFormat bool) []byte {
	switch typ {
	case admin.Int, admin.Int4:
		var n int64
		switch v := v.(type) {
		case int:
			n = int64(v)
		case int64:
			n = v
		case uint64:
			n = int64(min(v, math.MaxInt64))
		case uint32:
			n = int64(v)
		default:
			panic(fmt.Sprintf("the console: %T in a column of integers", v))
		}
		switch {
		case !binaryFormat:
			return strconv.AppendInt(nil, n, 10)
		case typ == admin.Int4:
			return binary.BigEndian.AppendUint32(nil, uint32(n))
		}
		return binary.BigEndian.AppendUint64(nil, uint64(n))
	case admin.Float:
		if binaryFormat {
			return binary.BigEndian.AppendUint64(nil, math.Float64bits(v.(float64)))
		}
		return strconv.AppendFloat(nil, v.(float64), 'g', -1, 64)
	case admin.Bool:
		switch {
		case binaryFormat && v.(bool):
			return []byte{1}
		case binaryFormat:
			return []byte{0}
		case v.(bool):
			return []byte{'t'}
		}
		return []byte{'f'}
	}
	// The client was told that it is UTF-8, and names and texts in databases may be anything.
	return []byte(strings.ReplaceAll(strings.ToValidUTF8(v.(string), "\uFFFD"), "\x00", "\uFFFD"))
}
