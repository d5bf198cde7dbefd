package answer

import (
	"net/http"

	apierr "authsvc/internal/errors"
)

// The limits on the head of a request, in bytes (the rows APIG.0201, 414 and 494).
const (
	maxURI       = 32 << 10
	maxHeader    = 32 << 10
	maxAllHeader = 128 << 10
)

// MaxHeaders is how many headers a request may have. It bounds the work for a head of many
// tiny ones, which net/http does before any handler: 0.4 us for each.
const MaxHeaders = 1000

// MaxHeaderBytes is what an http.Server must let through so that a head that is a little
// too large is answered with its row. net/http itself refuses what is larger (431), and
// until then it holds all of it.
const MaxHeaderBytes = 192 << 10

// checkHead applies the limits on the head of a request. Its error is APIG.0201.
func checkHead(r *http.Request) error {
	if len(r.RequestURI) > maxURI {
		return apierr.New(apierr.RequestURITooLarge, "The request URI is longer than 32 KiB. Parameters belong in the body.")
	}
	all, count := len("Host: \r\n")+len(r.Host), 0
	if all > maxHeader {
		return errHeaderTooLarge()
	}
	for name, values := range r.Header {
		if count += len(values); count > MaxHeaders {
			return apierr.New(apierr.RequestHeadersTooLarge, "The request has more than 1,000 headers. Leave some out.")
		}
		for _, v := range values {
			n := len(name) + len(": \r\n") + len(v)
			if n > maxHeader {
				return errHeaderTooLarge()
			}
			all += n
		}
	}
	if all > maxAllHeader {
		return apierr.New(apierr.RequestHeadersTooLarge, "The request headers are larger than 128 KiB in all. Leave some out.")
	}
	return nil
}

func errHeaderTooLarge() error {
	return apierr.New(apierr.RequestHeadersTooLarge, "A request header is larger than 32 KiB. Leave it out or make it smaller.")
}

// HeadSize returns the size of the head of a request, in bytes, and its number of headers.
func HeadSize(r *http.Request) (bytes, headers int) {
	bytes = len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		headers += len(values)
		for _, v := range values {
			bytes += len(name) + len(v)
		}
	}
	return bytes, headers
}
