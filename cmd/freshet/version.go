package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version and commit are set by the Makefile: -ldflags "-X main.version=…".
var version, commit string

// buildVersion and buildCommit say which Freshet this is: what the linker was
// told, else what Go has noted about module and repository.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func buildCommit() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = " (with changes)"
		}
	}
	return revision + dirty
}

type versionCommand struct{}

// Run prints it.
func (versionCommand) Run(env *environment) error {
	_, err := fmt.Fprintf(env.stdout, "freshet %s\ncommit  %s\nGo      %s %s/%s\n",
		buildVersion(), buildCommit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
