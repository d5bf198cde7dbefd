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

// MaxHeaderBytes is what an http.Server must let through so that a head that is too large
// is answered with its row.
const MaxHeaderBytes = 1 << 20

// checkHead applies the limits on the head of a request. Its error is APIG.0201.
func checkHead(r *http.Request) error {
	if len(r.RequestURI) > maxURI {
		return apierr.New(apierr.RequestURITooLarge, "The request URI is longer than 32 KiB. Parameters belong in the body.")
	}
	all := len("Host: \r\n") + len(r.Host)
	if all > maxHeader {
		return errHeaderTooLarge()
	}
	for name, values := range r.Header {
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
