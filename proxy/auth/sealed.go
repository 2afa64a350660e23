package auth

// sealed keeps a secret from being printed. Methods like String don't do that alone: fmt doesn't call them for an
// unexported field of somebody else's struct, but prints what is in it. It follows one pointer while at that (for a verb
// that doesn't fit), and never two.
type sealed[T any] struct{ p *T }

func seal[T any](p *T) *sealed[T] { return &sealed[T]{p} }

// open returns the secret, or nil if there is none.
func (s *sealed[T]) open() *T {
	if s == nil {
		return nil
	}
	return s.p
}
