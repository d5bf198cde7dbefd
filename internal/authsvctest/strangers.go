package authsvctest

import (
	"fmt"
	"strings"
)

// StrangerRequest is a request that anybody can send, without credentials, and that some
// parser or page of the public listener has to work for.
type StrangerRequest struct {
	Name string // the parser or page, and what it is given
	Text string // the whole request, in HTTP/1.1
}

// IssueRequest is the request for a token that the cost of a StrangerRequest is compared
// with.
var IssueRequest = post("/oauth/token", "", issueForm)

const (
	formType  = "application/x-www-form-urlencoded"
	issueForm = "grant_type=client_credentials&client_id=" + Worker + "&client_secret=" + Secret
)

// StrangerRequests returns the requests, each with about size bytes of what it is about.
func StrangerRequests(size int) []StrangerRequest {
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	names := func(format string) string { // each another name
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, format, string([]byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'a' + byte(i/676%26)}))
		}
		return b.String()
	}
	typed := func(contentType string) string {
		return strings.Replace(IssueRequest, formType, contentType, 1)
	}
	chunked := "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: " + formType + "\r\n\r\n"
	const page, html = "/errors/APIG.2208", "Accept: text/html\r\n"
	return []StrangerRequest{
		{"404", get("/", "")},
		{"the error table as HTML", get("/errors", html)},
		{"the error table as HTML, in Chinese", get("/errors?lang=zh", html)},
		{"the error table as JSON", get("/errors", "")},
		{"an error page as HTML", get(page, html)},
		{"an error page as JSON", get(page, "")},
		{"HEAD of the error table", strings.Replace(get("/errors", html), "GET", "HEAD", 1)},
		{"OpenAPI as YAML", get("/openapi.yaml", "")},
		{"OpenAPI as JSON", get("/openapi.json", "")},
		{"metadata", get("/.well-known/oauth-authorization-server", "")},
		{"OPTIONS *", strings.Replace(get("*", ""), "GET", "OPTIONS", 1)},

		{"Accept: many types", get(page, "Accept: "+fill("a,")+"\r\n")},
		{"Accept: many parameters", get(page, "Accept: "+fill("a/b;c=d;")+"\r\n")},
		{"Accept: wildcards", get(page, "Accept: "+fill("x*,")+"\r\n")},
		{"Accept-Language: many", get(page, "Accept-Language: "+fill("de-AT,")+"\r\n")},
		{"Accept-Language: one of many parts", get(page, "Accept-Language: "+fill("de-a-bb-c-dd-")+"\r\n")},
		{"Accept-Language: weights", get(page, "Accept-Language: "+fill("fr;q=0.001,")+"\r\n")},
		{"lang= in the query: many", get(page+"?lang="+fill("de,"), "")},
		{"lang= in the query: encoded", get(page+"?lang="+fill("%7A"), "")},
		{"query: tiny parameters", get(page+"?"+fill("a&"), "")},
		{"query: other names", get(page+"?"+names("%s&"), "")},
		{"query: encoded names", get(page+"?"+fill("%61&"), "")},
		{"query of verify: tiny parameters", get("/oauth/verify?"+fill("a&"), "")},
		{"query of verify: other names", get("/oauth/verify?"+names("%s=b&"), "")},
		{"query of verify: the same name", get("/oauth/verify?"+fill("scope=a&"), "")},
		{"query of verify: many scopes", get("/oauth/verify?scope="+fill("%20a"), "Authorization: Bearer x\r\n")},
		{"query of verify: encoded, then nginx", get("/oauth/verify?"+fill("%67&")+"gateway=nginx", "")},
		{"path: long", get("/"+fill("x"), "")},
		{"path: many parts", get("/"+fill("a/"), "")},
		{"path: encoded", get("/"+fill("%41"), "")},
		{"path: an error code", get("/errors/"+fill("%41"), "")},
		{"path: dots", get("/"+fill("../"), "")},

		{"Content-Type: many parameters", typed(formType + fill(";a=b"))},
		{"Content-Type: other names", typed(formType + names(";%s=b"))},
		{"Content-Type: pieces", typed(formType + names(";%s*1=b"))},
		{"Content-Type: quoted", typed(formType + `;a="` + fill(`\"`) + `"`)},
		{"Authorization: Basic", post("/oauth/token", "Authorization: Basic "+fill("AAAA")+"\r\n", "grant_type=client_credentials")},
		{"Authorization: Basic, encoded", post("/oauth/token", "Authorization: Basic "+fill("JTI1")+"JTI1Og==\r\n", "grant_type=client_credentials")},
		{"Authorization: Bearer", get("/oauth/verify", "Authorization: Bearer at_"+fill("A")+"\r\n")},
		{"X-Forwarded-For: many", get("/", "X-Forwarded-For: "+fill("1,")+"\r\n")},
		{"X-Forwarded-For: addresses", get("/", "X-Forwarded-For: "+fill("127.0.0.1, ")+"\r\n")},
		{"X-Request-Id: long", get("/", "X-Request-Id: "+fill("a")+"\r\n")},
		{"traceparent: long", get("/", "Traceparent: "+fill("0")+"\r\n")},
		{"tracestate and baggage: many members", get("/", "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nTracestate: "+fill("a=b,")+"\r\nBaggage: "+fill("a=b,")[:size/2]+"\r\n")},
		{"Cookie: many", get("/", "Cookie: "+fill("a=b; ")+"\r\n")},
		{"Host: long", strings.Replace(get("/", ""), "Host: x", "Host: "+fill("x"), 1)},
		{"headers: one long", get("/", "A: "+fill("x")+"\r\n")},
		{"headers: folded", get("/", "A: x\r\n"+fill(" x\r\n"))},
		{"headers: the same name", get("/", fill("a:\r\n"))},
		{"headers: other names", get("/", names("%s:\r\n"))},

		{"form: no parameters", post("/oauth/token", "", fill("&"))},
		{"form: tiny parameters", post("/oauth/token", "", fill("a=&"))},
		{"form: the same name", post("/oauth/introspect", "", fill("token=&"))},
		{"form: other names", post("/oauth/token", "", names("%s=b&"))},
		{"form: one long name", post("/oauth/token", "", fill("x"))},
		{"form: percent-encoded", post("/oauth/token", "", "a="+fill("%41"))},
		{"form: percent-encoded UTF-8", post("/oauth/token", "", "through_data="+fill("%E6%95%B0"))},
		{"form: faults", post("/oauth/revoke", "", fill("%&"))},
		{"form: many scopes", post("/oauth/token", "", issueForm+"&scope="+fill("a+"))},
		{"form: long secret", post("/oauth/token", "", "grant_type=client_credentials&client_id="+Worker+"&client_secret="+fill("x"))},
		{"form: long token", post("/oauth/revoke", "", "client_id="+Worker+"&client_secret="+Secret[1:]+"&token="+fill("x"))},
		{"chunks: tiny", chunked + fill("1\r\na\r\n") + "0\r\n\r\n"},
		{"chunks: extensions", chunked + fill("1;"+strings.Repeat("x", 14)+"\r\na\r\n") + "0\r\n\r\n"},
		{"chunks: trailers", chunked + "0\r\n" + strings.Repeat("a:\r\n", min(size, 3<<10)/4) + "\r\n"},
		{"Expect: 100-continue", post("/oauth/token", "Expect: 100-continue\r\n", fill("a=&"))},
	}
}

func get(target, headers string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n"
}

func post(path, headers, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s", path, formType, headers, len(body), body)
}
