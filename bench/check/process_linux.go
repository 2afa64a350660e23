package check

import "syscall"

// dieWithUs: signals from the terminal are not for it; when the thread that started it ends, so does it.
func dieWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
