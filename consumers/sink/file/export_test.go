package file

import "errors"

// OnStep calls f before each step that a crash could divide from the next; an
// error of f stops the sink there.
func (s *Sink) OnStep(f func(string) error) { s.step = f }

// Crash ends the sink as a killed process would: the lock goes, files stay.
func (s *Sink) Crash() error {
	for _, o := range s.parts {
		if o.f != nil {
			// Buffered bytes are lost.
			if err := o.f.Close(); err != nil {
				return err
			}
		}
	}
	s.parts = nil
	err := s.lock.Close()
	s.lock = nil
	return err
}

var ErrTest = errors.New("injected")

var (
	ParseName    = parseName
	FinishedName = finishedName
	PartName     = partName
)
