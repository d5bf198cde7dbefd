-- The part of the HAProxy recipe that you leave as it is: what haproxy.cfg, beside it, asks.

-- Paths that every server reads the same way (docs/gateways.md says which).
local _, plain = Regex.new([[^/(([-\w~!$&'()*+,=:@]|%(2[0-46-9a-c]|3[ac-f]|40|5[bde]|60|7[b-d]|[89abdef][0-9a-f]|c[2-9a-f]))\.*/?)*+(\?[^#]*)?$]], false)

core.register_fetches("authsvc_path", function(txn)
	return plain:match(txn.sf:pathq()) and "plain" or "ambiguous"
end)

-- Asks authsvc whether the token has the scope txn.authsvc_scope. A good one sets
-- txn.authsvc_key and the others; a bad one is answered with authsvc's own answer. Without
-- an answer of authsvc nothing is set.
core.register_action("authsvc", {"http-req"}, function(txn)
	local authorization = txn.http:req_get_headers()["authorization"]
	local answer = core.httpclient():get{
		-- The listener "authsvc". Exactly this path and these parameters: authsvc refuses
		-- any other.
		url = ("http://127.0.0.1:8001/oauth/verify?scope=%s"):format(txn:get_var("txn.authsvc_scope")),
		headers = authorization and {authorization = authorization},
		timeout = 5000,
	}
	local function header(name)
		local values = answer.headers and answer.headers[name]
		return values and values[0]
	end
	if answer.status == 200 and header("x-app-key") then
		txn:set_var("txn.authsvc_scopes", header("x-app-scope") or "")
		txn:set_var("txn.authsvc_expires", header("x-token-expires"))
		txn:set_var("txn.authsvc_data", header("x-through-data") or "")
		txn:set_var("txn.authsvc_key", header("x-app-key"))
	elseif header("content-type") == "application/json" then
		local reply = txn:reply{status = answer.status, body = answer.body}
		for name, values in pairs(answer.headers) do
			for _, value in pairs(values) do
				if name ~= "connection" and name ~= "content-length" and name ~= "transfer-encoding" then
					reply:add_header(name, value)
				end
			end
		end
		txn:done(reply)
	end
end)
