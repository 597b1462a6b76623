//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package demo

import "os"

// lock does nothing: two processes with one data folder would each do what the
// other has done, and it is a demo.
func lock(*os.File) error { return nil }
