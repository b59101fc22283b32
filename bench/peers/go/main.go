// A reverse proxy out of Go's standard library: reverse-proxy <port> <origin>...
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: reverse-proxy <port> <origin>...")
	}
	origins := make([]*url.URL, 0, len(os.Args)-2)
	for _, arg := range os.Args[2:] {
		origin, err := url.Parse(arg)
		if err != nil {
			log.Fatal(err)
		}
		origins = append(origins, origin)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// Its own 2 idle connections per backend would make it connect anew for most requests.
	transport.MaxIdleConnsPerHost = 256
	transport.DisableCompression = true
	var cursor uint64
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Director: func(req *http.Request) {
			origin := origins[(atomic.AddUint64(&cursor, 1)-1)%uint64(len(origins))]
			req.URL.Scheme = origin.Scheme
			req.URL.Host = origin.Host
		},
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], proxy))
}
