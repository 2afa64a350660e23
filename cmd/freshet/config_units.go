package main

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Size is a number of bytes, written as 64MiB.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// ParseSize reads a size: a whole number, or one with a fraction, and a unit.
func ParseSize(text string) (Size, error) {
	wrong := fmt.Errorf("%q isn't a size: write a number with KiB, MiB, GiB or TiB (1024 of the one before), as in 64MiB, or a number of bytes", text)
	number, factor := strings.TrimSpace(text), int64(1)
	for _, unit := range sizeUnits {
		if n, ok := strings.CutSuffix(number, unit.name); ok {
			number, factor = strings.TrimSpace(n), unit.bytes
			break
		}
	}
	if factor == 1 {
		number = strings.TrimSuffix(number, "B")
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/factor {
			return 0, wrong
		}
		return Size(n * factor), nil
	}
	// Digits and a point only: not 1e9, 0x1p4 or NaN.
	if strings.Trim(number, "0123456789.") != "" {
		return 0, wrong
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || factor == 1 || f*float64(factor) >= math.MaxInt64 {
		return 0, wrong
	}
	return Size(f * float64(factor)), nil
}

// String writes the size with the largest unit of which it is a whole number.
func (s Size) String() string {
	for _, unit := range sizeUnits {
		if s != 0 && int64(s)%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/unit.bytes, unit.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("%q isn't a time: write a number with ms, s, m or h, as in 250ms, 30s or 1h30m", text)
	}
	return d, nil
}

// decodeSize and decodeDuration are kong's mappers for the two.
var (
	decodeSize     = decoder(ParseSize)
	decodeDuration = decoder(parseDuration)
)

func decoder[T any](parse func(string) (T, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue("value")
		if err != nil {
			return err
		}
		text, ok := token.Value.(string)
		if !ok {
			return errors.New("expected a text")
		}
		v, err := parse(text)
		if err != nil {
			return err
		}
		target.Set(reflect.ValueOf(v))
		return nil
	}
}
