package server

import "time"

// pauseEnd returns a function that waits until the present CLIENT PAUSE has ended, by time or by CLIENT UNPAUSE, or
// the server is stopped.
func (s *Server) pauseEnd() (wait func()) {
	resumed := s.node.Clients.Resumed()
	until := s.node.Clients.PausedUntil()
	return func() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		select {
		case <-resumed:
		case <-timer.C:
		case <-s.stopped:
		}
	}
}

// holdEnd returns a function that waits until what holds the connection back has ended, or the server is stopped.
func (s *Server) holdEnd(c *conn) (wait func()) {
	held := c.wait
	return func() {
		select {
		case <-held:
		case <-s.stopped:
		}
	}
}
