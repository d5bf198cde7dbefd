# Signet.
require "signet/oauth_2/client"

client = Signet::OAuth2::Client.new(
  token_credential_uri: "#{ENV["AUTHSVC_URL"]}/oauth/token", client_id: ENV["CLIENT_ID"], client_secret: ENV["CLIENT_SECRET"], refresh_token: ENV["REFRESH_TOKEN"]
)
client.grant_type = ENV["REFRESH_TOKEN"] ? "refresh_token" : "client_credentials"
begin
  puts "got: #{client.fetch_access_token!["access_token"]}"
rescue StandardError => e
  puts "#{e.class}: #{e.message}"
end
