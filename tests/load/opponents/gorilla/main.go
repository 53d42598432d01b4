// A broadcast server with gorilla/websocket: what `make bench` compares fan-out with. Messages are
// lines "TYPE<tab>JSON" on the standard input; each goes to every reader whose params ask for its
// type or for all. Encoded once for all readers (PreparedMessage), write buffers shared, and the
// writes of 50 ms gathered into one, as ghpulse gathers them.
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const flush = 50 * time.Millisecond
const maxMessage = 1 << 20

// gathered holds back writes after the handshake until they are flushed.
type gathered struct {
	net.Conn
	mu      sync.Mutex
	holding bool
	held    []byte
}

func (g *gathered) Write(bytes []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.holding {
		return g.Conn.Write(bytes)
	}
	g.held = append(g.held, bytes...)
	return len(bytes), nil
}

func (g *gathered) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.held) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.held)
	g.held = g.held[:0]
	return err
}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gathered{Conn: conn}, nil
}

type message struct {
	kind     string
	prepared *websocket.PreparedMessage
}

type reader struct {
	kind string
	next chan message
}

type hub struct {
	mu      sync.RWMutex
	readers map[*reader]struct{}
}

var upgrader = websocket.Upgrader{
	ReadBufferSize:    1024,
	WriteBufferPool:   &sync.Pool{},
	EnableCompression: true,
	CheckOrigin:       func(*http.Request) bool { return true },
}

func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	var params struct {
		EventType string `json:"eventType"`
	}
	if conn.ReadJSON(&params) != nil {
		return
	}
	me := &reader{kind: params.EventType, next: make(chan message, 8192)}
	h.mu.Lock()
	h.readers[me] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.readers, me)
		h.mu.Unlock()
	}()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}()
	socket := conn.NetConn().(*gathered)
	ticks := time.NewTicker(flush)
	defer ticks.Stop()
	for {
		select {
		case <-gone:
			return
		case <-ticks.C:
		}
		socket.mu.Lock()
		socket.holding = true
		socket.mu.Unlock()
		for waiting := true; waiting; {
			select {
			case some := <-me.next:
				if conn.WritePreparedMessage(some.prepared) != nil {
					return
				}
			default:
				waiting = false
			}
		}
		socket.mu.Lock()
		socket.holding = false
		socket.mu.Unlock()
		if socket.flush() != nil {
			return
		}
	}
}

func (h *hub) publish(kind string, text []byte) {
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
	if err != nil {
		return
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	for one := range h.readers {
		if one.kind != "" && one.kind != kind {
			continue
		}
		select {
		case one.next <- message{kind, prepared}:
		default: // It is too slow, and misses this one.
		}
	}
}

func main() {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	h := &hub{readers: map[*reader]struct{}{}}
	http.HandleFunc("/sampling", h.serve)
	fmt.Println(socket.Addr())
	go func() { panic(http.Serve(listener{socket}, nil)) }()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 64<<10), maxMessage)
	for lines.Scan() {
		kind, text, _ := strings.Cut(lines.Text(), "\t")
		h.publish(kind, []byte(text))
	}
}
