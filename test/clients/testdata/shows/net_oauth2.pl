# Net::OAuth2: its profile for web servers, since the one for passwords can't refresh.
use strict;
use warnings;
use Net::OAuth2::AccessToken;
use Net::OAuth2::Profile::WebServer;

my $profile = Net::OAuth2::Profile::WebServer->new(
    client_id => $ENV{CLIENT_ID}, client_secret => $ENV{CLIENT_SECRET},
    site => $ENV{AUTHSVC_URL}, access_token_path => '/oauth/token', refresh_token_path => '/oauth/token',
    grant_type => 'client_credentials', secrets_in_params => 0,
);
eval {
    if ($ENV{REFRESH_TOKEN}) {
        my $old = Net::OAuth2::AccessToken->new(profile => $profile, access_token => 'old', refresh_token => $ENV{REFRESH_TOKEN});
        print "refreshed: ", $old->refresh, "\n";
    } else {
        my $token = $profile->get_access_token('');
        print "got: ", $token->access_token, "\n";
    }
};
print $@;
