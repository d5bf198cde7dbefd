package errors

// Row is one row of the gateway's error table. The row, not the code, is the unit:
// APIG.0101 and APIG.0201 stand for several failures, each with its own status and
// message. The zero Row is not a row.
type Row uint8

// The rows, in the order of the table. Each comment gives the row's code and status.
const (
	APINotFound                 Row = iota + 1 // APIG.0101 404
	APIMethodNotFound                          // APIG.0101 404
	BackendNotFound                            // APIG.0103 500
	PluginsNotFound                            // APIG.0104 500
	BackendConfigNotFound                      // APIG.0105 500
	OrchestrationError                         // APIG.0106 400
	LuaScriptError                             // APIG.0107 500
	APIRequestError                            // APIG.0201 400
	RequestEntityTooLarge                      // APIG.0201 413
	RequestURITooLarge                         // APIG.0201 414
	RequestHeadersTooLarge                     // APIG.0201 494
	RequestBackendUnavailable                  // APIG.0201 502
	RequestBackendTimeout                      // APIG.0201 504
	RequestUnexpectedError                     // APIG.0201 500
	BackendUnavailable                         // APIG.0202 502
	BackendTimeout                             // APIG.0203 504
	SSLProtocolUnsupported                     // APIG.0204 400
	ClientCertificateInvalid                   // APIG.0205 400
	IAMAuthIncorrect                           // APIG.0301 401
	IAMUserNotAuthorized                       // APIG.0302 403
	AppAuthIncorrect                           // APIG.0303 401
	AppNotAuthorized                           // APIG.0304 403
	AuthIncorrect                              // APIG.0305 401
	AccessDenied                               // APIG.0306 403
	TokenMustBeUpdated                         // APIG.0307 401
	Throttled                                  // APIG.0308 429
	ProjectUnavailable                         // APIG.0310 403
	DebugAuthIncorrect                         // APIG.0311 401
	ThirdPartyAuthFailed                       // APIG.0312 401
	ThirdPartyIdentitiesError                  // APIG.0313 401
	ThirdPartyAccessDenied                     // APIG.0314 403
	ClientIPUnknown                            // APIG.0401 403
	IPNotAuthorized                            // APIG.0402 403
	BackendIPDenied                            // APIG.0404 403
	IPNotTrusted                               // APIG.0405 403
	QuotaUsedUp                                // APIG.0501 405
	AppFrozen                                  // APIG.0502 405
	Internal                                   // APIG.0601 500
	BadRequest                                 // APIG.0602 400
	DomainResolutionFailed                     // APIG.0605 500
	APIConfigLoadFailed                        // APIG.0606 500
	ProtocolUnsupported                        // APIG.0607 400
	AdminTokenFailed                           // APIG.0608 500
	VPCBackendNotFound                         // APIG.0609 500
	NoBackendAvailable                         // APIG.0610 502
	BackendPortNotFound                        // APIG.0611 500
	APICallsItself                             // APIG.0612 500
	Unavailable                                // APIG.0613 503
	ThirdPartyVPCIncorrect                     // APIG.0615 500
	ThirdPartyRequestIncorrect                 // APIG.0616 500
	ThirdPartyResponseIncorrect                // APIG.0617 500
	BackendSignatureFailed                     // APIG.0705 500
	IAMUserForbiddenInRegion                   // APIG.0802 403
	PublicKeyNull                              // APIG.2102 400
	KeyOrSecretMalformed                       // APIG.2201 400
	RefreshTokenInvalid                        // APIG.2202 400
	AccessTokenInvalid                         // APIG.2203 400
	ContentTypeInvalid                         // APIG.2204 400
	AuthParameterInvalid                       // APIG.2205 400
	AuthMethodInvalid                          // APIG.2206 400
	ThroughDataTooLong                         // APIG.2208 400
	GrantTypeUnsupported                       // APIG.2209 400
	GrantTypeMissing                           // APIG.2210 400
	ClientIDMissing                            // APIG.2211 400
	ClientSecretMissing                        // APIG.2212 400
	RefreshTokenMissing                        // APIG.2213 400
	RefreshTokenExpired                        // APIG.1001 401
	AccessTokenExpired                         // APIG.1002 401
	AppMismatch                                // APIG.1003 401
	AppNotExist                                // APIG.1004 401
	CredentialsInvalid                         // APIG.1009 400
)

// rows is the table; rows[r-1] belongs to Row r.
var rows = [...]row{
	APINotFound - 1: {
		code: "APIG.0101", status: 404, oauth: "invalid_request",
		message: "The API does not exist or has not been published in the environment.",
		cause: text{
			en: "No endpoint has this path; paths must match exactly, so a trailing slash makes a different path. From a gateway, it means that the API is not published in the environment, or that the domain name belongs to no API group.",
			zh: "请求的路径上没有任何端点；路径须逐字相符，末尾多一个斜杠就是另一条路径。若由前置网关返回，则是该 API 未在当前环境发布，或请求所用的域名不属于任何 API 分组。",
		},
		fix: text{
			en: "Compare the path with those of authsvc: /oauth/token, /v1/apigw/oauth2/token, /oauth/introspect, /oauth/verify and /oauth/revoke. On a gateway, check the domain name, the path, the environment (X-Stage header) and whether the API is published there.",
			zh: "请对照 authsvc 的路径：/oauth/token、/v1/apigw/oauth2/token、/oauth/introspect、/oauth/verify 和 /oauth/revoke。在网关一侧，请核对域名、路径、X-Stage 请求头所指的环境，以及 API 在该环境的发布状态。",
		},
	},
	APIMethodNotFound - 1: {
		code: "APIG.0101", status: 404, oauth: "invalid_request",
		message: "The API does not exist.",
		cause: text{
			en: "The path exists, but not with this HTTP method: the token, introspection and revocation endpoints accept only POST, /oauth/verify accepts GET, HEAD and POST. From a gateway, it means that the API is defined with another method.",
			zh: "路径存在，但不支持此 HTTP 方法：令牌、内省和吊销端点只接受 POST，/oauth/verify 接受 GET、HEAD 和 POST。若由前置网关返回，则是该 API 定义的是另一种方法。",
		},
		fix: text{
			en: "Use a method from the Allow header of the answer. If you did send POST, look for a redirect on the way, for instance from http to https: many clients follow a redirected POST with a GET.",
			zh: "请改用响应中 Allow 头列出的方法。如果发送的确实是 POST，请检查途中是否有重定向（例如从 http 到 https）：许多客户端跟随重定向时会把 POST 变成 GET。",
		},
	},
	BackendNotFound - 1: {
		code: "APIG.0103", status: 500, oauth: "server_error",
		message: "The backend does not exist.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the API is published, but the gateway has no record of the backend that it refers to.",
			zh: "此错误来自前置网关，而非 authsvc：API 已发布，但它所引用的后端在网关中没有记录。",
		},
		fix: text{
			en: "Have the gateway's operator open the API, choose an existing backend and publish the API again; if the backend does exist, contact the gateway's support with the request id.",
			zh: "请网关管理员打开该 API，重新选择现有的后端并再次发布；如果后端确实存在，请带上请求 ID 向网关支持人员求助。",
		},
	},
	PluginsNotFound - 1: {
		code: "APIG.0104", status: 500, oauth: "server_error",
		message: "The plug-ins do not exist.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: a plug-in is bound to the API, but the gateway no longer has a configuration for it.",
			zh: "此错误来自前置网关，而非 authsvc：API 上绑定了插件，但网关中已没有该插件的设置。",
		},
		fix: text{
			en: "Have the gateway's operator unbind the API's plug-ins, bind them again and publish the API; if that does not help, contact the gateway's support.",
			zh: "请网关管理员先解绑该 API 的插件，再重新绑定并发布；若仍未恢复，请向网关支持人员求助。",
		},
	},
	BackendConfigNotFound - 1: {
		code: "APIG.0105", status: 500, oauth: "server_error",
		message: "The backend configurations do not exist.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the API's backend is known, but its settings (address, protocol, path or timeout) are missing.",
			zh: "此错误来自前置网关，而非 authsvc：后端本身存在，但其地址、协议、路径或超时等设置缺失。",
		},
		fix: text{
			en: "Have the gateway's operator save the API's backend settings again and publish the API; compare them with an environment in which it works.",
			zh: "请网关管理员重新保存该 API 的后端设置并再次发布，也可与调用正常的环境逐项对比。",
		},
	},
	OrchestrationError - 1: {
		code: "APIG.0106", status: 400, oauth: "invalid_request",
		message: "Orchestration error.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: a rule that maps request parameters to backend parameters could not be applied, often because a parameter is missing or has the wrong type.",
			zh: "此错误来自前置网关，而非 authsvc：将请求参数转换为后端参数的编排规则无法执行，多半是参数缺失或类型不符。",
		},
		fix: text{
			en: "Compare the parameters that you send with the API's definition; if they match, have the gateway's operator review the API's mapping rules.",
			zh: "先对照 API 定义检查所发送的参数；若无出入，请网关管理员复查该 API 的参数映射规则。",
		},
	},
	LuaScriptError - 1: {
		code: "APIG.0107", status: 500, oauth: "server_error",
		message: "The custom lua script encountered an unexpected error",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: a custom Lua script bound to the API raised an error.",
			zh: "此错误来自前置网关，而非 authsvc：该 API 绑定的自定义 Lua 脚本在执行时抛出异常。",
		},
		fix: text{
			en: "Have the script's maintainer check its log for this time and request id; to confirm that the script is at fault, have it unbound for a moment and repeat the call.",
			zh: "请脚本维护者按时间和请求 ID 查看其日志；也可暂时解绑该脚本后重试，以确认问题是否由它引起。",
		},
	},
	APIRequestError - 1: {
		code: "APIG.0201", status: 400, oauth: "invalid_request",
		message: "API request error.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the request is not valid HTTP, for instance in its request line, in a header or in the declared length of its body.",
			zh: "此错误来自前置网关，而非 authsvc：请求不符合 HTTP 规范，例如请求行、某个请求头或声明的请求体长度有误。",
		},
		fix: text{
			en: "Repeat the call with curl -v and check what is sent; look for control characters in headers, a wrong Content-Length, or plain HTTP sent to an HTTPS port.",
			zh: "用 curl -v 重发请求，对比实际发出的内容；留意请求头中的控制字符、错误的 Content-Length，以及把明文 HTTP 发到 HTTPS 端口的情况。",
		},
	},
	RequestEntityTooLarge - 1: {
		code: "APIG.0201", status: 413, oauth: "invalid_request",
		message: "Request entity too large.",
		cause: text{
			en: "The request body is over 12 MiB: its Content-Length says so, or the limit was exceeded while the body was read.",
			zh: "请求体超过 12 MiB：Content-Length 已表明超限，或在读取过程中越过了上限。",
		},
		fix: text{
			en: "Send only the form parameters that the endpoint needs, a few KiB at most; a body of this size is usually a file, or another service's payload sent to the wrong URL. For an API behind a gateway, send the data in parts.",
			zh: "只发送端点所需的表单参数，通常不超过几 KiB；这么大的请求体多半是把文件或发给其他服务的数据送错了地址。若是网关后的业务 API，请将数据拆分后分批发送。",
		},
	},
	RequestURITooLarge - 1: {
		code: "APIG.0201", status: 414, oauth: "invalid_request",
		message: "Request URI too large.",
		cause: text{
			en: "The request URI, path and query together, is over 32 KiB.",
			zh: "请求 URI（路径与查询串合计）超过 32 KiB。",
		},
		fix: text{
			en: "Put the parameters into the form body: the token endpoint reads them only there, never from the query string. Otherwise look for something that keeps appending to the URL, such as a redirect loop.",
			zh: "请把参数放进表单请求体：令牌端点只从那里读取参数，从不读取查询串。否则请检查是否有逻辑在不断加长 URL，例如循环重定向。",
		},
	},
	RequestHeadersTooLarge - 1: {
		code: "APIG.0201", status: 494, oauth: "invalid_request",
		message: "Request headers too large.",
		cause: text{
			en: "One request header is over 32 KiB, or all of them together are over 128 KiB, or there are more than 1,000.",
			zh: "某个请求头超过 32 KiB，或全部请求头合计超过 128 KiB，或请求头多于 1000 个。",
		},
		fix: text{
			en: "Remove what the call does not need: large cookies, forwarding or tracing headers that every proxy extends, a token sent twice. 494 is not a registered HTTP status, so a client library may report it as unknown.",
			zh: "去掉不必要的内容：过大的 Cookie、各级代理不断追加的转发头或追踪头、重复携带的令牌。494 不是已注册的 HTTP 状态码，有的客户端库会将它报告为未知状态。",
		},
	},
	RequestBackendUnavailable - 1: {
		code: "APIG.0201", status: 502, oauth: "temporarily_unavailable",
		message: "Backend unavailable.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it could not connect to the backend, or the connection broke before an answer came.",
			zh: "此错误来自前置网关，而非 authsvc：网关连接后端失败，或连接在得到响应前中断。",
		},
		fix: text{
			en: "Check from the gateway's host that the backend's address and port are reachable through security groups and firewalls. If authsvc is the backend, check that it is running and ready.",
			zh: "在网关所在主机上确认能连通后端的地址和端口，且安全组和防火墙已放行。若后端正是 authsvc，请检查它是否在运行且已就绪。",
		},
	},
	RequestBackendTimeout - 1: {
		code: "APIG.0201", status: 504, oauth: "temporarily_unavailable",
		message: "Backend timeout.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the backend accepted the connection, but did not answer within the timeout set for the API.",
			zh: "此错误来自前置网关，而非 authsvc：后端接受了连接，却没有在该 API 设定的时限内响应。",
		},
		fix: text{
			en: "Find out what delayed the backend: a slow query, overload, a lock. authsvc gives up on its store after 300 ms by default and answers APIG.0613, so a timeout in front of it points to the network or an overloaded host.",
			zh: "查明后端被什么拖慢：慢查询、过载，还是锁等待。authsvc 等待存储的时间默认不超过 300 ms，届时会返回 APIG.0613，因此若在它前面出现超时，多半是网络不畅或主机过载。",
		},
	},
	RequestUnexpectedError - 1: {
		code: "APIG.0201", status: 500, oauth: "server_error",
		message: "An unexpected error occurred",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it failed while handling or forwarding the request, and does not say why.",
			zh: "此错误来自前置网关，而非 authsvc：网关在处理或转发请求时出错，且未透露原因。",
		},
		fix: text{
			en: "If the call is safe to repeat, retry it once; if it fails again, have the gateway's operator look up the time and request id in the gateway's error log.",
			zh: "若请求可安全重发，先重试一次；仍然出错时，请网关管理员按时间和请求 ID 查阅网关的错误日志。",
		},
	},
	BackendUnavailable - 1: {
		code: "APIG.0202", status: 502, oauth: "temporarily_unavailable",
		message: "Backend unavailable",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it reached the backend, but the two do not use the same protocol, or the backend dropped the connection.",
			zh: "此错误来自前置网关，而非 authsvc：网关已连到后端，但双方使用的协议不同，或后端主动断开了连接。",
		},
		fix: text{
			en: "Compare the protocol in the API's backend settings with what the backend's port actually serves; usually plain HTTP is sent to an HTTPS port, or the reverse.",
			zh: "比较 API 后端设置里的协议与后端端口真正提供的协议；最常见的情况是用明文 HTTP 连接 HTTPS 端口，或正好相反。",
		},
	},
	BackendTimeout - 1: {
		code: "APIG.0203", status: 504, oauth: "temporarily_unavailable",
		message: "Backend timeout",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: its timeout expired before the backend had answered.",
			zh: "此错误来自前置网关，而非 authsvc：后端尚未返回响应，网关的等待时间就已用尽。",
		},
		fix: text{
			en: "Measure how long the backend itself takes for this call, and make it faster, or let it answer at once and work in the background; raise the API's timeout only if the work really takes that long.",
			zh: "测量后端处理该请求的实际耗时，设法加快，或先返回响应，再在后台执行；只有确实需要这么久时，才调大该 API 的超时。",
		},
	},
	SSLProtocolUnsupported - 1: {
		code: "APIG.0204", status: 400, oauth: "invalid_request",
		message: "SSL protocol is not supported: TLSv1.1",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the client offered a TLS version that the gateway does not allow; the message names it.",
			zh: "此错误来自前置网关，而非 authsvc：客户端使用的 TLS 版本不被网关允许，提示信息中写明了该版本。",
		},
		fix: text{
			en: "Let the client use TLS 1.2 or later: update its runtime or TLS library, or change its version setting. To test the gateway, use openssl s_client -tls1_2.",
			zh: "让客户端使用 TLS 1.2 或更高版本：升级其运行环境或 TLS 库，或修改版本设置。可用 openssl s_client -tls1_2 测试网关。",
		},
	},
	ClientCertificateInvalid - 1: {
		code: "APIG.0205", status: 400, oauth: "invalid_client",
		message: "Verify client certificate failed",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the domain name requires a client certificate (mutual TLS), and the client's is missing, expired or not signed by a CA that the gateway trusts.",
			zh: "此错误来自前置网关，而非 authsvc：该域名启用了双向 TLS，而客户端证书未提供、已过期，或并非由网关信任的 CA 签发。",
		},
		fix: text{
			en: "Check the dates and the issuer of the certificate with openssl x509, send the intermediate certificates as well, and make sure that the client actually presents it.",
			zh: "用 openssl x509 查看证书的有效期和签发者，连同中间证书一并发送，并确认客户端确实出示了证书。",
		},
	},
	IAMAuthIncorrect - 1: {
		code: "APIG.0301", status: 401, oauth: "invalid_client",
		message: "Incorrect IAM authentication information.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the API uses IAM authentication, and the IAM token (X-Auth-Token) or AK/SK signature in the call is missing, wrong or expired.",
			zh: "此错误来自前置网关，而非 authsvc：该 API 采用 IAM 认证，而请求中的 IAM 令牌（X-Auth-Token）或 AK/SK 签名缺失、有误或已过期。",
		},
		fix: text{
			en: "Get a new IAM token for the right account, project and region, and send it complete. An access token from authsvc is not an IAM token.",
			zh: "请在正确的账号、项目和区域下重新获取 IAM 令牌，并完整发送。authsvc 签发的访问令牌不能当作 IAM 令牌使用。",
		},
	},
	IAMUserNotAuthorized - 1: {
		code: "APIG.0302", status: 403, oauth: "unauthorized_client",
		message: "The IAM user is not authorized to access the API.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the IAM user is genuine, but an access control policy of the API denies access to the user or its account.",
			zh: "此错误来自前置网关，而非 authsvc：IAM 用户身份属实，但 API 的访问控制策略拒绝了该用户或其账号。",
		},
		fix: text{
			en: "Have the gateway's operator look for the user name and the account name in the policies bound to the API, and allow the user.",
			zh: "请网关管理员在该 API 绑定的策略中查找用户名和账号名，并放行此用户。",
		},
	},
	AppAuthIncorrect - 1: {
		code: "APIG.0303", status: 401, oauth: "invalid_client",
		message: "Incorrect app authentication information.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the app's signature or AppCode does not match the request. Usually the request was changed after it was signed (method, path, query or body), or the client's clock is wrong.",
			zh: "此错误来自前置网关，而非 authsvc：App 的签名或 AppCode 与请求不符。常见原因是签名之后请求又有改动（路径、方法、请求体或查询串），或客户端时钟不准。",
		},
		fix: text{
			en: "Encode first, then sign, let no proxy change the request after that, and synchronize the client's clock. A call with a token from authsvc needs no signature: check which authentication the API is configured for.",
			zh: "请先编码再签名，签名后不让任何代理改写请求，并校准客户端时间。携带 authsvc 令牌的请求无需签名，请确认该 API 配置的是哪种认证方式。",
		},
	},
	AppNotAuthorized - 1: {
		code: "APIG.0304", status: 403, oauth: "unauthorized_client",
		message: "The app is not authorized to access the API.",
		cause: text{
			en: "The app is known, but may not do this: from /oauth/introspect, it means that the app lacks the introspect role; from /oauth/verify, that its token lacks a scope that the call needs; from a gateway, that the app has not been authorized for the API.",
			zh: "App 身份无误，但无权执行此操作：若由 /oauth/introspect 返回，是 App 缺少 introspect 角色；若由 /oauth/verify 返回，是令牌缺少本次调用所需的 scope；若由前置网关返回，是 API 尚未授权给此 App。",
		},
		fix: text{
			en: "Have ops give the introspect role to the app that introspects for the gateway. For a missing scope, have ops add it to the app's scopes, and then get a token with client_credentials; on a gateway, authorize the app for the API.",
			zh: "请运维为代表网关查询令牌的 App 授予 introspect 角色。若缺少 scope，请由运维将其加入 App 的 scope，再用 client_credentials 获取令牌；在网关一侧，请把 API 授权给该 App。",
		},
	},
	AuthIncorrect - 1: {
		code: "APIG.0305", status: 401, oauth: "invalid_token",
		message: "Incorrect authentication information.",
		cause: text{
			en: "/oauth/verify found no bearer token: the Authorization header is missing, has another scheme, or is empty after the scheme. From a gateway, it means that the call has no credentials that the API accepts.",
			zh: "/oauth/verify 未找到 Bearer 令牌：请求没有 Authorization 头、该头使用了其他方案，或方案之后为空。若由前置网关返回，则是请求未携带 API 认可的凭证。",
		},
		fix: text{
			en: "Send the access token in the Authorization: Bearer header; it is not read from the query or the body. Behind nginx, Traefik, Caddy or APISIX, check that the proxy passes the Authorization header to /oauth/verify.",
			zh: "请用 Authorization: Bearer 请求头发送访问令牌；查询串和请求体中的令牌不会被读取。经由 nginx、Traefik、Caddy 或 APISIX 时，请确认代理会把 Authorization 头转给 /oauth/verify。",
		},
	},
	AccessDenied - 1: {
		code: "APIG.0306", status: 403, oauth: "unauthorized_client",
		message: "API access denied.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the caller is known, but may not use the API in this environment.",
			zh: "此错误来自前置网关，而非 authsvc：调用者身份已确认，但 API 在此环境中未向其开放。",
		},
		fix: text{
			en: "Have the gateway's operator check to which apps, users and environments the API is granted; a new grant can take a moment to take effect.",
			zh: "请网关管理员核对该 API 开放给了哪些 App、用户和环境；新增的授权可能要稍等片刻才生效。",
		},
	},
	TokenMustBeUpdated - 1: {
		code: "APIG.0307", status: 401, oauth: "invalid_token",
		message: "The token must be updated.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the IAM token was valid once, but is no longer accepted, for instance after a change of password or permissions.",
			zh: "此错误来自前置网关，而非 authsvc：IAM 令牌曾经有效，但现已不被接受，例如密码或权限发生过变更。",
		},
		fix: text{
			en: "Have IAM issue a new token, and let the client renew it before it expires. For a token from authsvc, the corresponding error is APIG.1002, and the fix is a refresh.",
			zh: "请让 IAM 签发新令牌，并让客户端在令牌到期之前主动更换。authsvc 令牌的类似情形是 APIG.1002，刷新即可解决。",
		},
	},
	Throttled - 1: {
		code: "APIG.0308", status: 429, oauth: "temporarily_unavailable",
		message: "The throttling threshold has been reached.",
		cause: text{
			en: "Too many requests: the app has exceeded its token requests a minute, or there were too many wrong secrets for this client_id or from this client network, in which case the secret is not even checked. From a gateway, it means that the call exceeded a throttling policy of the API.",
			zh: "请求过于频繁：App 超出了每分钟的令牌请求数，或此 client_id 或此客户端网段提交的错误密钥过多（此时不再校验密钥）。若由前置网关返回，则是触发了 API 的流控策略。",
		},
		fix: text{
			en: "Wait for as long as the Retry-After header says. Keep a token and reuse it until shortly before it expires, rather than get one for each call; after wrong secrets, find the instance that still sends the old one.",
			zh: "请按 Retry-After 头给出的时间等待。令牌应保存复用，临近过期再更换，而不是每次调用都申请；若起因是密钥错误，请找出仍在使用旧密钥的实例。",
		},
	},
	ProjectUnavailable - 1: {
		code: "APIG.0310", status: 403, oauth: "unauthorized_client",
		message: "The project is unavailable.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the project that the call names does not exist in this region, or has been suspended or closed.",
			zh: "此错误来自前置网关，而非 authsvc：请求所指的项目在此区域不存在，或已被暂停、关闭。",
		},
		fix: text{
			en: "Compare the project ID in the request or the IAM token with the console, and ask the account's administrator if it is suspended.",
			zh: "将请求或 IAM 令牌中的项目 ID 与控制台对照；若项目已暂停，请向账号管理员了解情况。",
		},
	},
	DebugAuthIncorrect - 1: {
		code: "APIG.0311", status: 401, oauth: "invalid_client",
		message: "Incorrect debugging authentication information.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: a call from the gateway's debugging page carried debugging credentials that were not accepted.",
			zh: "此错误来自前置网关，而非 authsvc：从网关调试页面发起的调用，其调试凭证未被接受。",
		},
		fix: text{
			en: "Sign in and start debugging again, or call the API with an ordinary client; if only debugging fails, contact the gateway's support.",
			zh: "重新登录后再次发起调试，或改用普通客户端调用；若只有调试失败，请向网关支持人员求助。",
		},
	},
	ThirdPartyAuthFailed - 1: {
		code: "APIG.0312", status: 401, oauth: "invalid_client",
		message: "Incorrect third-party authentication information,auth fail",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the third-party authentication service that it called refused the credentials of the call.",
			zh: "此错误来自前置网关，而非 authsvc：网关所询问的第三方认证服务拒绝了请求中的凭证。",
		},
		fix: text{
			en: "Check the credentials with that service, and read its log. If the service is authsvc, the error_code that /oauth/verify returns is the actual reason.",
			zh: "向该服务核实凭证并查看其日志。如果该服务就是 authsvc，/oauth/verify 返回的 error_code 才是真正的原因。",
		},
	},
	ThirdPartyIdentitiesError - 1: {
		code: "APIG.0313", status: 401, oauth: "invalid_client",
		message: "Incorrect third-party authentication information,identities error",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: an identity source that the third-party authentication plug-in requires, such as a header or a query parameter, is not in the request or breaks the plug-in's rule.",
			zh: "此错误来自前置网关，而非 authsvc：第三方认证插件要求的身份来源（如某个请求头或查询参数）未出现在请求中，或不符合插件的规则。",
		},
		fix: text{
			en: "Compare the names of the identity sources in the plug-in with what the client sends, letter by letter, and make sure that no proxy removes the header.",
			zh: "逐字比对插件中的身份来源名称与客户端实际发送的内容，并确认没有代理删除该请求头。",
		},
	},
	ThirdPartyAccessDenied - 1: {
		code: "APIG.0314", status: 403, oauth: "unauthorized_client",
		message: "Incorrect third-party authentication information,access deny",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: after too many failed third-party authentications, the plug-in's protection against guessing blocks the caller.",
			zh: "此错误来自前置网关，而非 authsvc：第三方认证失败次数过多，插件的防暴力破解机制已拦截该调用方。",
		},
		fix: text{
			en: "Find and stop the client that keeps failing, then wait until the block ends; if the calls are legitimate, have the gateway's operator relax the plug-in's limit.",
			zh: "找出并停掉反复失败的客户端，然后等待拦截解除；若确属正常调用，可请网关管理员放宽插件的限制。",
		},
	},
	ClientIPUnknown - 1: {
		code: "APIG.0401", status: 403, oauth: "unauthorized_client",
		message: "Unknown client IP address.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it cannot determine the client's IP address, for instance because a forwarding header is missing or malformed.",
			zh: "此错误来自前置网关，而非 authsvc：网关无法确定请求来自哪个 IP 地址，例如转发头缺失或格式有误。",
		},
		fix: text{
			en: "Make sure that every proxy in front of the gateway writes a plain IP address to X-Forwarded-For (or uses the PROXY protocol), and that the gateway trusts these proxies.",
			zh: "确认网关之前的每一级代理都在 X-Forwarded-For 中写入规范的 IP 地址（或使用 PROXY 协议），且网关信任这些代理。",
		},
	},
	IPNotAuthorized - 1: {
		code: "APIG.0402", status: 403, oauth: "unauthorized_client",
		message: "The IP address is not authorized to access the API.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: an IP access control policy of the API does not allow the client's address.",
			zh: "此错误来自前置网关，而非 authsvc：API 绑定的 IP 访问控制策略没有放行客户端的地址。",
		},
		fix: text{
			en: "Find out which outgoing (NAT) address the gateway sees, and have its operator allow it in the policy. The corresponding rule of authsvc itself is APIG.0405.",
			zh: "先查明网关看到的出口（NAT）地址，再请网关管理员在策略中放行。authsvc 自己的同类限制是 APIG.0405。",
		},
	},
	BackendIPDenied - 1: {
		code: "APIG.0404", status: 403, oauth: "unauthorized_client",
		message: "Access to the backend IP address has been denied.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the gateway must not connect to the address of the API's backend, or to one to which the backend's domain name resolves.",
			zh: "此错误来自前置网关，而非 authsvc：API 的后端地址（或后端域名解析出的地址）属于网关禁止连接的范围。",
		},
		fix: text{
			en: "Have the gateway's operator resolve the backend's name on the gateway, and move the backend to a permitted network or change the gateway's list of denied addresses.",
			zh: "请网关管理员在网关上解析后端域名，再将后端迁到允许的网段，或调整网关的禁止地址名单。",
		},
	},
	IPNotTrusted - 1: {
		code: "APIG.0405", status: 403, oauth: "unauthorized_client",
		message: "The app is not accessed from a trusted IP address.",
		cause: text{
			en: "The app may only be used from the networks in its trusted_ips, and the client address that authsvc sees is not among them.",
			zh: "该 App 只能从其 trusted_ips 所列的网段使用，而 authsvc 看到的客户端地址不在其中。",
		},
		fix: text{
			en: "Call from a listed network, or have ops add your outgoing (NAT) address to the app's trusted_ips. If every caller is refused, authsvc probably sees the address of a proxy, and ops must configure which proxies it trusts.",
			zh: "请从名单内的网络发起请求，或由运维把你的出口（NAT）地址加入该 App 的 trusted_ips。若所有调用者都被拒绝，很可能 authsvc 看到的是代理的地址，需由运维设置受信任的代理。",
		},
	},
	QuotaUsedUp - 1: {
		code: "APIG.0501", status: 405, oauth: "unauthorized_client",
		message: "The app quota has been used up.",
		cause: text{
			en: "The app has already got as many tokens today as its daily quota allows. The table gives this row the status 405; the HTTP method is not at fault.",
			zh: "该 App 今天获得的令牌数已达每日配额。405 是错误码表为此情形规定的状态码，与 HTTP 方法无关。",
		},
		fix: text{
			en: "Tokens already issued stay valid: reuse them until they expire, and look for code that gets a token for each call or each process start. If the app really needs more, have ops raise its daily quota.",
			zh: "已签发的令牌仍然有效，请用到过期为止，并检查是否有代码在每次调用或每次启动时都申请令牌。若确有需要，请运维调高该 App 的每日配额。",
		},
	},
	AppFrozen - 1: {
		code: "APIG.0502", status: 405, oauth: "unauthorized_client",
		message: "The app has been frozen.",
		cause: text{
			en: "The app exists, but ops have set it to state: frozen, so it gets no tokens and those it has are not active. The table gives this row the status 405; another HTTP method does not help.",
			zh: "App 存在，但运维已将其设为 state: frozen，因此不能再获取令牌，已有的令牌也视为无效。405 是错误码表规定的状态码，换用其他 HTTP 方法无济于事。",
		},
		fix: text{
			en: "Ask ops why the app is frozen, and have them unfreeze it. Freezing does not change grants and secrets: once the app is unfrozen, tokens that have not expired work again.",
			zh: "请向运维了解冻结原因，并请其解除冻结。冻结不会改动授权和密钥，解除后尚未过期的令牌即可恢复使用。",
		},
	},
	Internal - 1: {
		code: "APIG.0601", status: 500, oauth: "server_error",
		message: "Internal server error.",
		cause: text{
			en: "Something failed that authsvc did not foresee; the answer does not reveal the reason, which is logged once under the request id. From a gateway, it means that the gateway itself failed.",
			zh: "发生了 authsvc 未曾预料的故障；响应不透露原因，原因只以请求 ID 记入日志一次。若由前置网关返回，则是网关自身的故障。",
		},
		fix: text{
			en: "Retry after a short wait; a refresh is safe to repeat within the grace of 60 s. If the error persists, give ops the request_id of the answer, which leads to the reason in the log.",
			zh: "稍候重试；刷新请求在 60 秒宽限期内可以放心重发。若持续出现，请把响应中的 request_id 交给运维，凭它即可在日志中查到原因。",
		},
	},
	BadRequest - 1: {
		code: "APIG.0602", status: 400, oauth: "invalid_request",
		message: "Bad request.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it refused the request as a whole, for instance for an illegal character in the path or a malformed Host header.",
			zh: "此错误来自前置网关，而非 authsvc：网关拒绝了整个请求，例如路径含有非法字符，或 Host 头格式有误。",
		},
		fix: text{
			en: "With curl, reduce the call to the smallest one that still fails, then compare its host, path encoding and headers with the API's definition.",
			zh: "用 curl 把请求精简到仍能复现问题的最小形式，再对照 API 定义检查主机名、路径编码和请求头。",
		},
	},
	DomainResolutionFailed - 1: {
		code: "APIG.0605", status: 500, oauth: "server_error",
		message: "Domain name resolution failed.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: its DNS has no address for the host name of the API's backend.",
			zh: "此错误来自前置网关，而非 authsvc：网关的 DNS 查不到 API 后端域名的地址。",
		},
		fix: text{
			en: "Check the backend's host name in the API's settings for typos, and resolve it from the gateway's network; a private DNS zone must be linked to that network.",
			zh: "检查 API 设置中的后端域名有无笔误，并在网关所在网络中试着解析；若是内网域名，其所属的私有域必须与该网络关联。",
		},
	},
	APIConfigLoadFailed - 1: {
		code: "APIG.0606", status: 500, oauth: "server_error",
		message: "Failed to load the API configurations.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it knows the API, but has not loaded its configuration, for instance just after a start or a publication.",
			zh: "此错误来自前置网关，而非 authsvc：网关知道该 API，却没有载入它的配置，例如刚刚启动或刚刚发布之后。",
		},
		fix: text{
			en: "Wait a minute and retry; if the error persists, have the gateway's operator publish the API again and check the gateway's connection to its configuration store.",
			zh: "等一分钟再试；若仍然出现，请网关管理员重新发布该 API，并检查网关与其配置存储之间的连接。",
		},
	},
	ProtocolUnsupported - 1: {
		code: "APIG.0607", status: 400, oauth: "invalid_request",
		message: "The following protocol is supported: {xxx}",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the API does not accept the protocol of the call; instead of {xxx}, the message names the one that it accepts.",
			zh: "此错误来自前置网关，而非 authsvc：API 不接受此次调用所用的协议，提示信息会在 {xxx} 处写明可用的协议。",
		},
		fix: text{
			en: "Begin the URL with that protocol, http:// or https://, and correct clients that have the other one hard-coded.",
			zh: "让 URL 以该协议（http:// 或 https://）开头，并改正写死了另一种协议的客户端。",
		},
	},
	AdminTokenFailed - 1: {
		code: "APIG.0608", status: 500, oauth: "server_error",
		message: "Failed to obtain the admin token.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: to check the caller, it needs its own administrator token from IAM, and it could not get one.",
			zh: "此错误来自前置网关，而非 authsvc：网关需要用自己的 IAM 管理令牌来校验调用者，但未能取得。",
		},
		fix: text{
			en: "The call itself is not at fault: retry later. The gateway's operator should check the connection to IAM and the gateway's own account.",
			zh: "请求本身没有问题，请稍后重试。网关管理员应检查到 IAM 的连接以及网关自身的账号。",
		},
	},
	VPCBackendNotFound - 1: {
		code: "APIG.0609", status: 500, oauth: "server_error",
		message: "The VPC backend does not exist.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the load balance channel (VPC channel) of the API's backend has been deleted, or has not been synchronized to the gateway yet.",
			zh: "此错误来自前置网关，而非 authsvc：API 后端所用的负载通道（VPC 通道）已被删除，或尚未同步到网关。",
		},
		fix: text{
			en: "Have the gateway's operator choose an existing channel for the API, check that it has members, and publish the API again.",
			zh: "请网关管理员为该 API 选用现有的通道，确认其中有成员，然后再次发布该 API。",
		},
	},
	NoBackendAvailable - 1: {
		code: "APIG.0610", status: 502, oauth: "temporarily_unavailable",
		message: "No backend available.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: every server in the channel of the API's backend fails its health check or refuses connections.",
			zh: "此错误来自前置网关，而非 authsvc：API 后端通道内的服务器全部未通过健康检查，或都拒绝连接。",
		},
		fix: text{
			en: "Check the servers, their port, and the path and status that the health check expects. If authsvc is the backend, check whether it reports that it is not ready, for instance because its store is unavailable.",
			zh: "检查各台服务器、端口，以及健康检查所用的路径和期望的状态码。若后端是 authsvc，请看它是否报告未就绪，例如因为连不上存储。",
		},
	},
	BackendPortNotFound - 1: {
		code: "APIG.0611", status: 500, oauth: "server_error",
		message: "The backend port does not exist.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: neither the chosen channel nor its members have a port for the backend.",
			zh: "此错误来自前置网关，而非 authsvc：所选的通道及其成员都没有设置后端的端口。",
		},
		fix: text{
			en: "Have the gateway's operator enter the port for the channel or its members, and publish the API again.",
			zh: "请网关管理员为通道或其成员补填端口，再重新发布该 API。",
		},
	},
	APICallsItself - 1: {
		code: "APIG.0612", status: 500, oauth: "server_error",
		message: "An API cannot call itself.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the API's backend leads back to the API itself, directly or through other APIs, more than 10 levels deep.",
			zh: "此错误来自前置网关，而非 authsvc：API 的后端直接或经由其他 API 又指回它自己，层数已超过 10。",
		},
		fix: text{
			en: "Point the backend to the actual service rather than to a domain name of the gateway; follow the chain of APIs and redirects to find the loop.",
			zh: "让后端指向真正的服务，而不是网关自己的域名；沿着 API 之间的调用链和重定向排查，找出环路。",
		},
	},
	Unavailable - 1: {
		code: "APIG.0613", status: 503, oauth: "temporarily_unavailable",
		message: "The IAM service is currently unavailable.",
		cause: text{
			en: "authsvc could not reach its token store within the deadline (300 ms by default), or could not read a record in it, and does not guess; IAM service in the message is the gateway's wording. From a full gateway, it means that IAM itself does not answer.",
			zh: "authsvc 未能在时限内（默认 300 ms）访问令牌存储，或无法读取其中的某条记录，因此不会对令牌作出猜测；消息里的 IAM service 沿用网关的说法。若由完整的网关返回，则是 IAM 没有响应。",
		},
		fix: text{
			en: "Callers: retry after the time in Retry-After; a refresh is safe to repeat within its grace. Ops: check that Redis is running, is reachable and has memory left, and compare its latency with --store-timeout; the request_id leads to the reason in the log.",
			zh: "调用者：按 Retry-After 给出的时间等待后重试，刷新请求在宽限期内可以放心重发。运维：检查 Redis 是否运行、能否连通、内存是否够用，并将其延迟与 --store-timeout 对比；凭 request_id 可在日志中查到原因。",
		},
	},
	ThirdPartyVPCIncorrect - 1: {
		code: "APIG.0615", status: 500, oauth: "server_error",
		message: "Incorrect third-party authentication VPC information",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it found no usable node in the load balance channel of the third-party authentication service.",
			zh: "此错误来自前置网关，而非 authsvc：第三方认证服务的负载通道中没有可用的节点。",
		},
		fix: text{
			en: "Have the gateway's operator check that the channel configured in the plug-in exists, has healthy members, and is reachable from the gateway.",
			zh: "请网关管理员确认插件中设置的通道存在、成员健康，且能从网关访问。",
		},
	},
	ThirdPartyRequestIncorrect - 1: {
		code: "APIG.0616", status: 500, oauth: "server_error",
		message: "Incorrect third-party authentication request information",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it could not connect to the third-party authentication service.",
			zh: "此错误来自前置网关，而非 authsvc：网关与第三方认证服务之间未能建立连接。",
		},
		fix: text{
			en: "Check the address, port, protocol and certificate in the plug-in, and that the service is running. If the service is authsvc, call /oauth/verify from the gateway's host.",
			zh: "检查插件中的地址、端口、协议和证书，并确认该服务正在运行。若该服务是 authsvc，可在网关主机上直接调用 /oauth/verify 试试。",
		},
	},
	ThirdPartyResponseIncorrect - 1: {
		code: "APIG.0617", status: 500, oauth: "server_error",
		message: "Incorrect third-party authentication response information",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it reached the third-party authentication service, but the answer did not come in time or could not be understood.",
			zh: "此错误来自前置网关，而非 authsvc：已连上第三方认证服务，但对方迟迟不响应，或响应内容无法理解。",
		},
		fix: text{
			en: "Call the service by hand, compare its status and body with what the plug-in expects, and check the plug-in's timeout.",
			zh: "手工调用该服务，将其状态码和响应体与插件的要求对照，并核对插件的超时设置。",
		},
	},
	BackendSignatureFailed - 1: {
		code: "APIG.0705", status: 500, oauth: "server_error",
		message: "Backend signature calculation failed.",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: it could not sign the call to the backend, for instance because the signature key bound to the API is missing or unusable.",
			zh: "此错误来自前置网关，而非 authsvc：网关无法为发往后端的请求签名，例如 API 绑定的签名密钥缺失或不可用。",
		},
		fix: text{
			en: "Have the gateway's operator check the type and length of that signature key, bind it to the API again, and publish the API.",
			zh: "请网关管理员检查该签名密钥的类型和长度，将它重新绑定到 API 后再发布。",
		},
	},
	IAMUserForbiddenInRegion - 1: {
		code: "APIG.0802", status: 403, oauth: "unauthorized_client",
		message: "The IAM user is forbidden in the currently selected region",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the IAM user is not allowed in the region of the call.",
			zh: "此错误来自前置网关，而非 authsvc：请求所指的区域不允许使用该 IAM 用户。",
		},
		fix: text{
			en: "Call a region in which the user is enabled, or have the account's administrator enable the user in this one.",
			zh: "改用该用户已开通的区域，或请账号管理员在此区域为其开通。",
		},
	},
	PublicKeyNull - 1: {
		code: "APIG.2102", status: 400, oauth: "invalid_request",
		message: "PublicKey is null",
		cause: text{
			en: "This error comes from a gateway in front, not from authsvc: the public key with which it verifies a signature was never configured, or has been deleted.",
			zh: "此错误来自前置网关，而非 authsvc：网关用来验证签名的公钥从未配置，或已被删除。",
		},
		fix: text{
			en: "Have the gateway's operator configure that key again and publish. The keys of authsvc are in its keyring, and have nothing to do with this error.",
			zh: "请网关管理员重新配置该公钥并发布。authsvc 的密钥保存在自己的密钥环文件中，与此错误无关。",
		},
	},
	KeyOrSecretMalformed - 1: {
		code: "APIG.2201", status: 400, oauth: "invalid_client",
		message: "Appkey or SecretKey is invalid",
		cause: text{
			en: "client_id or client_secret has a format that no app can have: the key must be 8 to 200 characters of [A-Za-z0-9_-], the secret 8 to 128 of these and !@#$%, and both must start with a letter or digit.",
			zh: "client_id 或 client_secret 的格式不合规，不可能属于任何 App：前者须为 8 至 200 个 [A-Za-z0-9_-] 字符，后者须为 8 至 128 个上述字符或 !@#$%，且都以字母或数字开头。",
		},
		fix: text{
			en: "Copy both again from where they were issued, and look for quotes, blanks or a line break that were copied along, a variable that was not expanded, or special characters that were not percent-encoded in the form.",
			zh: "从签发处重新复制两者，留意是否带入了引号、空格或换行，变量是否未展开，表单中的特殊字符是否未做百分号编码。",
		},
	},
	RefreshTokenInvalid - 1: {
		code: "APIG.2202", status: 400, oauth: "invalid_grant",
		message: "Refresh token is invalid",
		cause: text{
			en: "The refresh token can't be used: it is malformed, forged, an access token, unknown, revoked, or already used and replayed. A replay after the grace of 60 s also ends its grant and every token of it.",
			zh: "刷新令牌不可用：格式错误、系伪造、实为访问令牌、未知、已吊销，或用过之后又被重放。在 60 秒宽限期之后重放，还会使整个授权及其全部令牌失效。",
		},
		fix: text{
			en: "Send the newest refresh_token (it starts with rt_) exactly as received, and let only one place in your code refresh and store the new pair. If it is still refused, get a new pair with client_credentials; if the replay was not yours, treat the token as leaked.",
			zh: "请原样发送最近一次得到的 refresh_token（以 rt_ 开头），并让代码中只有一处负责刷新和保存新令牌。若仍被拒绝，请用 client_credentials 重新获取；如果重放并非自己所为，应视为令牌已泄露。",
		},
	},
	AccessTokenInvalid - 1: {
		code: "APIG.2203", status: 400, oauth: "invalid_token",
		message: "Access token is invalid",
		cause: text{
			en: "The access token can't be used: it is malformed, forged, a refresh token, revoked, or ended by a refresh that changed scope or through_data, or its grant no longer exists. From /oauth/revoke, it means that the access token belongs to another app.",
			zh: "访问令牌不可用：格式错误、系伪造、实为刷新令牌、已吊销、因刷新时更改了 scope 或 through_data 而作废，或其授权已不存在。若由 /oauth/revoke 返回，则是该访问令牌属于另一个 App。",
		},
		fix: text{
			en: "Send the newest access_token complete, not truncated by a log, a header or a database column: it starts with at_ and has 79 characters. If it is the right one, get another with a refresh or with client_credentials.",
			zh: "请完整发送最新的 access_token，不要被日志、请求头或数据库字段截断：它以 at_ 开头，共 79 个字符。若确认没有用错，请通过刷新或 client_credentials 重新获取。",
		},
	},
	ContentTypeInvalid - 1: {
		code: "APIG.2204", status: 400, oauth: "invalid_request",
		message: "ContentType invalid",
		cause: text{
			en: "The Content-Type header is missing or is not application/x-www-form-urlencoded; JSON and multipart bodies are not read. A charset, if given, must be UTF-8.",
			zh: "Content-Type 头缺失，或不是 application/x-www-form-urlencoded；JSON 和 multipart 请求体不会被读取。如带有 charset，则必须是 UTF-8。",
		},
		fix: text{
			en: "Send the parameters as a form with Content-Type: application/x-www-form-urlencoded, as curl does with -d and --data-urlencode. In an HTTP library, use the option for forms, not the one for JSON.",
			zh: "以表单发送参数，并设置 Content-Type: application/x-www-form-urlencoded，curl 的 -d 和 --data-urlencode 默认如此。使用 HTTP 库时，请用表单选项，不要用 JSON 选项。",
		},
	},
	AuthParameterInvalid - 1: {
		code: "APIG.2205", status: 400, oauth: "invalid_request",
		message: "Auth parameter invalid",
		cause: text{
			en: "The body is not a valid form, a known parameter is repeated, the Basic header is malformed, a value is not valid UTF-8 or contains NUL, the app does not have the scope, the scope is wider than the grant's, or /oauth/introspect or /oauth/revoke got no token parameter.",
			zh: "请求体不是有效的表单、已知参数重复、Basic 头格式错误、值不是有效的 UTF-8 或含有 NUL、scope 不属于该 App 或超出原授权的范围，或者 /oauth/introspect、/oauth/revoke 未收到 token 参数。",
		},
		fix: text{
			en: "Read error_description, which names the parameter and the fault. Send each parameter once, as percent-encoded UTF-8; Basic is the base64 of client_id:client_secret; without scope, or with scope=default, you get all scopes of the app or the grant.",
			zh: "请先看 error_description，它指明了是哪个参数、错在哪里。每个参数只发送一次，按 UTF-8 做百分号编码；Basic 的内容是 client_id:client_secret 的 base64；省略 scope 或传 scope=default，即可得到 App 或原授权的全部 scope。",
		},
	},
	AuthMethodInvalid - 1: {
		code: "APIG.2206", status: 400, oauth: "invalid_request",
		message: "Auth method invalid",
		cause: text{
			en: "The Authorization header has a scheme other than Basic, or the app authenticates in two ways at once: Basic and a client_secret in the body, a client_id in the body that differs from the one in Basic, or two Authorization headers.",
			zh: "Authorization 头的方案不是 Basic，或 App 同时用了两种认证方式：既有 Basic 又在请求体中带 client_secret、请求体中的 client_id 与 Basic 中的不同，或有两个 Authorization 头。",
		},
		fix: text{
			en: "Use Basic, or client_id and client_secret in the body, but not both. Remove an Authorization: Bearer header that an HTTP client or a proxy adds on its own.",
			zh: "使用 Basic，或在请求体中发送 client_id 和 client_secret，二者只选其一。若 HTTP 客户端或代理会自动加上 Authorization: Bearer 头，请将其去掉。",
		},
	},
	ThroughDataTooLong - 1: {
		code: "APIG.2208", status: 400, oauth: "invalid_request",
		message: "The length of through_data is out of range",
		cause: text{
			en: "through_data has more than 300 characters, counted as Unicode code points after decoding; an emoji can consist of several.",
			zh: "through_data 解码后超过 300 个字符（按 Unicode 码点计算）；一个表情符号可能占多个码点。",
		},
		fix: text{
			en: "Shorten it, or keep the data yourself and send only a short key to it.",
			zh: "请缩短内容，或把数据保存在自己一侧，through_data 中只放一个简短的索引。",
		},
	},
	GrantTypeUnsupported - 1: {
		code: "APIG.2209", status: 400, oauth: "unsupported_grant_type",
		message: "The value of grant_type is not in enum List",
		cause: text{
			en: "grant_type is neither client_credentials nor refresh_token; it must match exactly, in lower case and without blanks.",
			zh: "grant_type 的值既不是 client_credentials，也不是 refresh_token；比较时逐字匹配，须为小写且不含空格。",
		},
		fix: text{
			en: "Send grant_type=client_credentials for the first pair of tokens, and grant_type=refresh_token to renew it; password and authorization_code are not supported.",
			zh: "首次获取令牌请用 grant_type=client_credentials，更新令牌请用 grant_type=refresh_token；不提供 password 和 authorization_code。",
		},
	},
	GrantTypeMissing - 1: {
		code: "APIG.2210", status: 400, oauth: "invalid_request",
		message: "Lack of grant_type",
		cause: text{
			en: "The form body has no grant_type, or an empty one; the query string is not read.",
			zh: "表单请求体中没有 grant_type，或其值为空；查询串不会被读取。",
		},
		fix: text{
			en: "Put grant_type=client_credentials or grant_type=refresh_token into the body, and check that the body is not lost on the way, for instance in a redirect.",
			zh: "在请求体中加入 grant_type=client_credentials 或 grant_type=refresh_token，并确认请求体没有在途中丢失，例如在重定向时。",
		},
	},
	ClientIDMissing - 1: {
		code: "APIG.2211", status: 400, oauth: "invalid_client",
		message: "Lack of client_id",
		cause: text{
			en: "The request has no client_id, or an empty one, neither in the form body nor as the user name of Basic.",
			zh: "请求中没有 client_id 或其值为空：表单请求体里没有，也没有作为 Basic 的用户名发送。",
		},
		fix: text{
			en: "Send client_id and client_secret in the form body, or client_id:client_secret as Basic; the query string is not read. Check whether the variable that should hold the AppKey is empty.",
			zh: "在表单请求体中发送 client_id 和 client_secret，或以 Basic 发送 client_id:client_secret；查询串不会被读取。请检查存放 AppKey 的变量是否为空。",
		},
	},
	ClientSecretMissing - 1: {
		code: "APIG.2212", status: 400, oauth: "invalid_client",
		message: "Lack of client_secret",
		cause: text{
			en: "client_id is present, but client_secret is missing or empty. Every app has a secret, and a refresh needs it, too.",
			zh: "有 client_id，但 client_secret 缺失或为空。每个 App 都有密钥，刷新时同样必须提供。",
		},
		fix: text{
			en: "Send the AppSecret as client_secret in the form body or as the password of Basic. Check whether the environment variable or secret file that it comes from is empty.",
			zh: "将 AppSecret 作为表单请求体中的 client_secret 或 Basic 的密码发送。请检查提供它的环境变量或密钥文件是否为空。",
		},
	},
	RefreshTokenMissing - 1: {
		code: "APIG.2213", status: 400, oauth: "invalid_request",
		message: "Lack of refresh_token",
		cause: text{
			en: "grant_type is refresh_token, but the form body has no refresh_token, or an empty one.",
			zh: "grant_type 为 refresh_token，但表单请求体中没有 refresh_token 参数，或其值为空。",
		},
		fix: text{
			en: "Send the refresh_token from the latest token answer; if you have none, get a pair with grant_type=client_credentials.",
			zh: "请发送最近一次令牌响应中的 refresh_token；若手头没有，请用 grant_type=client_credentials 获取一对令牌。",
		},
	},
	RefreshTokenExpired - 1: {
		code: "APIG.1001", status: 401, oauth: "invalid_grant",
		message: "Refresh token is expired",
		cause: text{
			en: "The refresh token is genuine, but has expired (after 7200 s by default), or its grant has reached its maximum age of 30 days.",
			zh: "刷新令牌确由 authsvc 签发，但有效期已过（默认 7200 秒），或其授权已满 30 天的最长期限。",
		},
		fix: text{
			en: "Get a new pair with grant_type=client_credentials. To avoid this, refresh in time, or have ops extend the app's refresh lifetime, to at most 72000 s.",
			zh: "请用 grant_type=client_credentials 重新获取一对令牌。要避免再次发生，请及时刷新，或由运维延长该 App 的刷新令牌有效期，最长 72000 秒。",
		},
	},
	AccessTokenExpired - 1: {
		code: "APIG.1002", status: 401, oauth: "invalid_token",
		message: "Access token is expired",
		cause: text{
			en: "The access token is genuine, but has expired (after 3600 s by default, as expires_in said). /oauth/introspect reports this with status 200 and active false.",
			zh: "访问令牌确由 authsvc 签发，但有效期已过（默认 3600 秒，以 expires_in 为准）。/oauth/introspect 报告此情形时状态码为 200，active 为 false。",
		},
		fix: text{
			en: "Get a new one with grant_type=refresh_token, or with client_credentials if the refresh token has expired, too. Renew it shortly before expires_in has passed, counted from receipt, so that clocks need not agree.",
			zh: "请用 grant_type=refresh_token 换取新令牌；若刷新令牌也已过期，则用 client_credentials。建议从收到令牌时起计时，在 expires_in 用尽前略微提前更换，这样无需两端时钟一致。",
		},
	},
	AppMismatch - 1: {
		code: "APIG.1003", status: 401, oauth: "invalid_grant",
		message: "App not match refresh token",
		cause: text{
			en: "The refresh token is genuine, but it belongs to another app than the client_id and client_secret that were sent with it. Nothing has been changed or revoked.",
			zh: "刷新令牌确由 authsvc 签发，但它属于另一个 App，而非随请求发送的 client_id 和 client_secret 所代表的 App。没有任何内容因此被改动或吊销。",
		},
		fix: text{
			en: "Use the client_id and client_secret with which the token was obtained. Look for mixed-up environments or tenants in the configuration, or a token cache that is shared but not keyed by client_id.",
			zh: "请使用获取该令牌时的 client_id 和 client_secret。检查配置中是否混淆了环境或租户，或多个 App 共用的令牌缓存没有按 client_id 区分。",
		},
	},
	AppNotExist - 1: {
		code: "APIG.1004", status: 401, oauth: "invalid_token",
		message: "App not exist",
		cause: text{
			en: "The access token has a valid signature and has not expired, but the app that it was issued to has been deleted since. From /oauth/introspect, this comes with status 200 and active false.",
			zh: "访问令牌签名正确且未过期，但它所属的 App 后来已被删除。若由 /oauth/introspect 返回，则状态码为 200，active 为 false。",
		},
		fix: text{
			en: "Ask ops whether the app was deleted on purpose. Once an app with this key exists again, get a new pair with client_credentials; do not rely on the old tokens.",
			zh: "请向运维确认是否有意删除该 App。以同一 AppKey 重新创建后，请用 client_credentials 重新获取令牌，不要依赖旧令牌。",
		},
	},
	CredentialsInvalid - 1: {
		code: "APIG.1009", status: 400, oauth: "invalid_client",
		message: "AppKey or AppSecret is invalid",
		cause: text{
			en: "client_id and client_secret have the right format, but there is no such app or the secret is wrong. Both cases get the same answer, so that nobody can find out which keys exist.",
			zh: "client_id 和 client_secret 的格式正确，但没有这个 App，或密钥不对。两种情况的响应相同，以免有人借此探知哪些 AppKey 存在。",
		},
		fix: text{
			en: "Check that key and secret belong together and to this environment, and whether the secret has been changed; percent-encode special characters. Retrying with the same values does not help.",
			zh: "请确认两者配对且属于当前环境，并查看密钥是否已更换；特殊字符须做百分号编码。用同样的值重试没有用。",
		},
	},
}
