# Faraday, which has no OAuth of its own.
require "faraday"

form = {grant_type: "client_credentials"}
form = {grant_type: "refresh_token", refresh_token: ENV["REFRESH_TOKEN"]} if ENV["REFRESH_TOKEN"]
client = Faraday.new(ENV["AUTHSVC_URL"]) do |f|
  f.request :url_encoded
  f.response :raise_error
end
client.headers["Authorization"] = "Basic " + ["#{ENV["CLIENT_ID"]}:#{ENV["CLIENT_SECRET"]}"].pack("m0")
begin
  puts "got: #{client.post("/oauth/token", form).body}"
rescue Faraday::Error => e
  puts e.message
end
