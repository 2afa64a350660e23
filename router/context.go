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

var contextKey, paramsKey = newSipKey(), newSipKey()

// ID returns a hash of role and search path, for Key. Work it out when one of them changes, not once per query.
func (c Context) ID() Fingerprint {
	b := appendPart(nil, c.Role)
	for _, schema := range c.SearchPath {
		b = appendPart(b, schema)
	}
	return contextKey.sum(b)
}

func appendPart(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

// ParamsID returns a hash of the declared parameter types, for Key. None declared and all 0 give the zero Fingerprint. It
// doesn't allocate for up to 64 parameters.
func ParamsID(types []uint32) Fingerprint {
	n := len(types)
	for n > 0 && types[n-1] == 0 {
		n--
	}
	if n == 0 {
		return Fingerprint{}
	}
	var stack [256]byte
	b := stack[:0]
	for _, t := range types[:n] {
		b = binary.LittleEndian.AppendUint32(b, t)
	}
	return paramsKey.sum(b)
}
