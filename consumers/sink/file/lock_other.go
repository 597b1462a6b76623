//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package file

import (
	"fmt"
	"os"
	"runtime"
)

// lock refuses: without a lock that ends with its process, two writers could
// delete each other's files.
func lock(string) (*os.File, error) {
	return nil, fmt.Errorf("the file sink needs flock, which %s does not have", runtime.GOOS)
}
