package feed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/freshet/freshet/consistency"
)

// The messages of pgoutput, protocol version 1, by the names of the protocol manual ("Logical Replication Message
// Formats").
const (
	messageBegin    = 'B'
	messageCommit   = 'C'
	messageOrigin   = 'O'
	messageRelation = 'R'
	messageType     = 'Y'
	messageInsert   = 'I'
	messageUpdate   = 'U'
	messageDelete   = 'D'
	messageTruncate = 'T'
	messageLogical  = 'M' // pg_logical_emit_message
)

// Prefixes of the transactional logical messages (pg_logical_emit_message) that the event triggers of freshet setup send.
const (
	// CatalogMessage says that the transaction changed something that every cached answer depends on.
	CatalogMessage = "freshet.catalog"
	// RelationMessage says that it changed the relation whose OID is its content: a materialized view was refreshed.
	RelationMessage = "freshet.relation"
)

var errShort = errors.New("pgoutput message is too short")

// decoder turns the messages of the stream into commits. It keeps what a transaction has changed until its commit comes;
// without streaming of transactions in progress there is one at a time, and only those that committed.
type decoder struct {
	open     bool // between Begin and Commit
	commit   consistency.Commit
	relation map[uint32]struct{} // those in commit.Relations, once they are many
}

// few relations are looked through one by one.
const few = 16

// message takes one message. When it was a Commit it returns the transaction, which is the decoder's and valid until the
// next call; otherwise nil.
func (d *decoder) message(m []byte) (*consistency.Commit, error) {
	if len(m) == 0 {
		return nil, errShort
	}
	body := m[1:]
	switch m[0] {
	case messageBegin: // final LSN, commit time, xid
		if len(body) < 20 {
			return nil, errShort
		}
		if d.open {
			return nil, errors.New("pgoutput: a transaction begins within another")
		}
		d.open = true
		d.commit = consistency.Commit{XID: binary.BigEndian.Uint32(body[16:]), Relations: d.commit.Relations[:0]}
		if len(d.relation) > 0 {
			d.relation = nil // not cleared: a map keeps the size that its largest transaction gave it
		}
	case messageCommit: // flags, LSN of the commit, end LSN of the transaction, commit time
		if len(body) < 25 {
			return nil, errShort
		}
		if !d.open {
			return nil, errors.New("pgoutput: a commit without a transaction")
		}
		d.open = false
		d.commit.End = consistency.LSN(binary.BigEndian.Uint64(body[9:]))
		return &d.commit, nil
	case messageInsert, messageUpdate, messageDelete: // relation, tuples
		if len(body) < 4 {
			return nil, errShort
		}
		return nil, d.change(binary.BigEndian.Uint32(body))
	case messageTruncate: // number of relations, options, relations
		if len(body) < 5 {
			return nil, errShort
		}
		n, list := int(binary.BigEndian.Uint32(body)), body[5:]
		if len(list) != 4*n {
			return nil, errShort
		}
		for ; len(list) > 0; list = list[4:] {
			if err := d.change(binary.BigEndian.Uint32(list)); err != nil {
				return nil, err
			}
		}
	case messageLogical: // flags, LSN, prefix and a zero, length, content
		return nil, d.logical(body)
	case messageRelation, messageType, messageOrigin:
		// A relation's columns, when its tuples are looked into.
	default:
		// Its meaning is unknown, so it could be a change.
		return nil, fmt.Errorf("pgoutput message of unknown type %q", m[0])
	}
	return nil, nil
}

// logical takes a message that somebody has put in the stream.
func (d *decoder) logical(body []byte) error {
	if len(body) < 9 {
		return errShort
	}
	if !d.open {
		return nil // without a transaction around it, it isn't transactional, so not one of ours
	}
	prefix, rest, ok := bytes.Cut(body[9:], []byte{0})
	if !ok || len(rest) < 4 || int(binary.BigEndian.Uint32(rest)) != len(rest)-4 {
		return errShort
	}
	switch string(prefix) {
	case CatalogMessage:
		d.commit.Catalog = true
	case RelationMessage:
		oid, err := strconv.ParseUint(string(rest[4:]), 10, 32)
		if err != nil {
			d.commit.Catalog = true // whatever it means, that is enough
			return nil
		}
		return d.change(uint32(oid))
	}
	return nil
}

func (d *decoder) change(relation uint32) error {
	if !d.open {
		return errors.New("pgoutput: a change outside of a transaction")
	}
	known := d.commit.Relations
	if n := len(known); n > 0 && known[n-1] == relation {
		return nil // as in a long COPY
	}
	if len(known) < few {
		for _, r := range known {
			if r == relation {
				return nil
			}
		}
	} else {
		if d.relation == nil {
			d.relation = make(map[uint32]struct{}, 2*few)
			for _, r := range known {
				d.relation[r] = struct{}{}
			}
		}
		if _, ok := d.relation[relation]; ok {
			return nil
		}
		d.relation[relation] = struct{}{}
	}
	d.commit.Relations = append(known, relation)
	return nil
}
