# ruby-oauth2.
require "oauth2"

client = OAuth2::Client.new(ENV["CLIENT_ID"], ENV["CLIENT_SECRET"], site: ENV["AUTHSVC_URL"], token_url: "/oauth/token", auth_scheme: :basic_auth)
begin
  if ENV["REFRESH_TOKEN"]
    token = OAuth2::AccessToken.new(client, "old", refresh_token: ENV["REFRESH_TOKEN"]).refresh!
  else
    token = client.client_credentials.get_token
  end
  puts "got: #{token.token}", "refresh token: #{token.refresh_token.inspect}"
rescue OAuth2::Error => e
  puts e.message
end
