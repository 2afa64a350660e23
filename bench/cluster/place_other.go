//go:build unix && !linux

package cluster

import "os"

// defaultParent is where a cluster's folder is made.
func defaultParent() string { return os.TempDir() }
