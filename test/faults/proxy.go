package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy is between one worker and one server, and breaks their traffic as the suite
// wants.
type proxy struct {
	listener net.Listener
	cut      atomic.Bool // nothing passes and nothing connects
	swallow  atomic.Bool // requests pass, answers do not

	mu     sync.Mutex
	target string
	conns  map[*net.TCPConn]bool
}

func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target, conns: map[*net.TCPConn]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // the proxy is closed
		}
		go p.pass(c.(*net.TCPConn))
	}
}

func (p *proxy) pass(down *net.TCPConn) {
	if p.cut.Load() {
		_ = down.Close()
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	c, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		_ = down.Close()
		return
	}
	up := c.(*net.TCPConn)
	p.mu.Lock()
	p.conns[down], p.conns[up] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, down)
		delete(p.conns, up)
		p.mu.Unlock()
		_, _ = down.Close(), up.Close()
	}()
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(up, down); done <- struct{}{} }()
	go func() { _, _ = io.Copy(answers{p, down}, up); done <- struct{}{} }()
	<-done
}

// answers drops what is written while answers are swallowed.
type answers struct {
	p    *proxy
	down net.Conn
}

func (a answers) Write(b []byte) (int, error) {
	if a.p.swallow.Load() {
		return len(b), nil
	}
	return a.down.Write(b)
}

// reset breaks every connection with a TCP reset.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// cutOff breaks every connection and accepts no new one until mend.
func (p *proxy) cutOff() {
	p.cut.Store(true)
	p.reset()
}

func (p *proxy) mend() { p.cut.Store(false) }

// divert breaks every connection. New ones lead to another server.
func (p *proxy) divert(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.reset()
}

// loseAnswers passes requests and drops their answers for d. Then it breaks the
// connections.
func (p *proxy) loseAnswers(d time.Duration) {
	p.swallow.Store(true)
	time.AfterFunc(d, func() {
		p.reset()
		p.swallow.Store(false)
	})
}
