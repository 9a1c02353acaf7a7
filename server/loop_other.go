//go:build !linux

package server

// epollConn is empty where there is no epoll.
type epollConn struct{}

func (s *Server) newDriver() (driver, error) { return newNetDriver(s), nil }
