package relay_test

import (
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// processDisk is the disk of a process, which may be killed at whatever it
// changes there. It then goes on with its disk; the next process gets what was
// there at that moment.
type processDisk struct {
	vfs.FS
	of *process
}

// does does something that changes the disk.
func (d processDisk) does(f func() error) error {
	m, _ := d.of.doing(onDisk)
	if m == before || m == halfway {
		d.of.die("before changing its disk")
	}
	err := f()
	if m == after {
		d.of.die("after changing its disk")
	}
	return err
}

func (d processDisk) opens(f func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := d.does(func() (err error) {
		file, err = f()
		return err
	})
	if err != nil {
		return nil, err
	}
	return processFile{file, d}, nil
}

// Create implements vfs.FS, as do all below.
func (d processDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.opens(func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d processDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.opens(func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, o...) })
}

func (d processDisk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.opens(func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

func (d processDisk) OpenDir(name string) (vfs.File, error) {
	file, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return processFile{file, d}, nil
}

func (d processDisk) Link(from, to string) error {
	return d.does(func() error { return d.FS.Link(from, to) })
}

func (d processDisk) Rename(from, to string) error {
	return d.does(func() error { return d.FS.Rename(from, to) })
}

func (d processDisk) Remove(name string) error {
	return d.does(func() error { return d.FS.Remove(name) })
}

func (d processDisk) RemoveAll(name string) error {
	return d.does(func() error { return d.FS.RemoveAll(name) })
}

func (d processDisk) MkdirAll(dir string, mode os.FileMode) error {
	return d.does(func() error { return d.FS.MkdirAll(dir, mode) })
}

func (d processDisk) Lock(name string) (c io.Closer, err error) {
	err = d.does(func() (err error) {
		c, err = d.FS.Lock(name)
		return err
	})
	return c, err
}

// processFile is an open file of a process.
type processFile struct {
	vfs.File
	on processDisk
}

// Write may be cut short: then half of it is there when the process dies.
func (f processFile) Write(b []byte) (int, error) {
	m, _ := f.on.of.doing(onDisk)
	switch m {
	case before:
		f.on.of.die("before writing to its disk")
	case halfway:
		n, err := f.File.Write(b[:len(b)/2])
		f.on.of.die("halfway through writing to its disk")
		if err != nil {
			return n, err
		}
		more, err := f.File.Write(b[len(b)/2:])
		return n + more, err
	case after, never:
	}
	n, err := f.File.Write(b)
	if m == after {
		f.on.of.die("after writing to its disk")
	}
	return n, err
}

func (f processFile) WriteAt(b []byte, offset int64) (n int, err error) {
	err = f.on.does(func() error {
		n, err = f.File.WriteAt(b, offset)
		return err
	})
	return n, err
}

func (f processFile) Sync() error { return f.on.does(f.File.Sync) }

func (f processFile) SyncData() error { return f.on.does(f.File.SyncData) }

func (f processFile) SyncTo(length int64) (full bool, err error) {
	err = f.on.does(func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}
