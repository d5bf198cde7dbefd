package main

import (
	"fmt"
	"slices"
	"strings"

	apierr "authsvc/internal/errors"
)

// tongue holds the words of a page of errors in one language.
type tongue struct {
	lang                                          apierr.Lang
	title, intro                                  string
	code, status, name, message, cause, stop, fix string
}

var english = tongue{
	lang: apierr.English, title: "Errors",
	intro: "Every row of the error table: %d rows with %d codes. Only code, status and message together\n" +
		"identify a row. A running service has the same pages at `/errors`, and the `error_uri` of an\n" +
		"answer links to them. If a request has several faults, [precedence.md](precedence.md) says\n" +
		"which one is answered. In Chinese: [errors.zh.md](errors.zh.md).",
	code: "code", status: "status", name: "OAuth name", message: "message", cause: "Cause", fix: "Fix", stop: ": ",
}

var chinese = tongue{
	lang: apierr.Chinese, title: "错误码",
	intro: "错误码表的全部内容：共 %d 行、%d 个错误码。同一错误码可能有多行，须结合状态码和消息区分。\n" +
		"运行中的服务在 `/errors` 提供同样的页面，错误响应的 `error_uri` 指向对应的一页。\n" +
		"一个请求有多处错误时返回哪一个，见 [precedence.md](precedence.md)（英文）。\n" +
		"英文版：[errors.md](errors.md)。",
	code: "错误码", status: "状态码", name: "OAuth 错误名", message: "消息", cause: "原因", fix: "处理", stop: "：",
}

func errorsPage(t tongue) string {
	rows := slices.Collect(apierr.All())
	var codes []string
	for _, r := range rows {
		if !slices.Contains(codes, r.Code()) {
			codes = append(codes, r.Code())
		}
	}
	var b strings.Builder
	b.WriteString(header)
	fmt.Fprintf(&b, "# %s\n\n"+t.intro+"\n\n", t.title, len(rows), len(codes))
	head(&b, t.code, t.status, t.name, t.message)
	for _, r := range rows {
		// The anchor of a heading is its text, in lower case and without the dot.
		link := fmt.Sprintf("[%s](#%s)", r.Code(), strings.ReplaceAll(strings.ToLower(r.Code()), ".", ""))
		row(&b, link, fmt.Sprint(r.Status()), code(r.OAuthName()), escape(r.Message()))
	}
	for _, c := range codes {
		fmt.Fprintf(&b, "\n## %s\n", c)
		for _, r := range apierr.ByCode(c) {
			fmt.Fprintf(&b, "\n**%d** %s %s\n\n- %s%s%s\n- %s%s%s\n", r.Status(), code(r.OAuthName()), escape(r.Message()),
				t.cause, t.stop, escape(r.Cause(t.lang)), t.fix, t.stop, escape(r.Fix(t.lang)))
		}
	}
	return b.String()
}
