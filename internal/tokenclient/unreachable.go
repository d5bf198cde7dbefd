package tokenclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Unreachable returns an error of an HTTP client in plain words: why no answer came
// within the timeout, and what to do. trust completes "name its PEM file": how the
// client is given the certificate of an authority. It wraps the cause.
func Unreachable(err error, timeout time.Duration, trust string) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err // the method and the URL are known
	}
	return fmt.Errorf("%s (%w)", plainly(err, timeout, trust), err)
}

func plainly(err error, timeout time.Duration, trust string) string {
	var (
		dns       *net.DNSError
		unknownCA x509.UnknownAuthorityError
		otherHost x509.HostnameError
		invalid   x509.CertificateInvalidError
		header    tls.RecordHeaderError
		alert     tls.AlertError
		timed     net.Error
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("there is no host %s: check the URL for a typing error, or this machine's DNS", dns.Name)
	case errors.As(err, &dns):
		return "the host in the URL could not be looked up: this machine's DNS does not answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check that the service runs, and the host and the port in the URL"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to that address: check the network, and any firewall or VPN"
	case errors.As(err, &unknownCA):
		return "the server's certificate was signed by an authority that this machine does not know: name its PEM file " + trust + ", if it is yours"
	case errors.As(err, &otherHost):
		return "the server's certificate is for another name: use a name that is in it, or have one issued for this name as well"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired or is not valid yet: it must be renewed, or the clock of this machine is wrong"
	case errors.As(err, &invalid):
		return "the server's certificate is not valid for this use"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header):
		return "the server does not speak TLS there: use http:// in the URL, or the port for https"
	case errors.As(err, &alert):
		return "the server ended the TLS handshake: it may want a client certificate, or another version of TLS"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timed) && timed.Timeout():
		return fmt.Sprintf("no answer in %s: a firewall may drop the packets, or the service is overloaded", timeout)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection without an answer: it may speak TLS there (use https://), or something in between cut it"
	}
	return "no answer came"
}
