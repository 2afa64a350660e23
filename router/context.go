package router

import "encoding/binary"

// Context is what a plan depends on besides the text and the catalog.
type Context struct {
	// Role is the effective role (current_user).
	Role string
	// SearchPath is the effective search path, as catalog.Snapshot.EffectiveSearchPath gives it.
	SearchPath []string
	// ParamTypes are the type OIDs declared in Parse; 0, or none at all: not declared.
	ParamTypes []uint32
}

var contextKey = newSipKey()

// ID returns a hash of the whole context, for Key. Parameters that aren't declared count as left out. It doesn't
// allocate unless the context is longer than 512 bytes.
func (c Context) ID() Fingerprint {
	var stack [512]byte
	types := c.ParamTypes
	for len(types) > 0 && types[len(types)-1] == 0 {
		types = types[:len(types)-1]
	}
	b := binary.LittleEndian.AppendUint32(stack[:0], uint32(len(types)))
	for _, t := range types {
		b = binary.LittleEndian.AppendUint32(b, t)
	}
	b = appendPart(b, c.Role)
	for _, schema := range c.SearchPath {
		b = appendPart(b, schema)
	}
	return contextKey.sum(b)
}

func appendPart(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}
