# LWP::Authen::OAuth2, which refreshes on its own.
use strict;
use warnings;
use JSON qw(encode_json);
use LWP::Authen::OAuth2;

my $service = $ENV{AUTHSVC_URL};
my $client = LWP::Authen::OAuth2->new(
    client_id => $ENV{CLIENT_ID}, client_secret => $ENV{CLIENT_SECRET},
    authorization_endpoint => "$service/none", token_endpoint => "$service/oauth/token",
    request_required_params => [qw(grant_type client_id client_secret)],
    $ENV{REFRESH_TOKEN} ? (token_string => encode_json({
        access_token => 'old', token_type => 'Bearer', expires_in => 1, create_time => 1,
        refresh_token => $ENV{REFRESH_TOKEN}, _class => 'LWP::Authen::OAuth2::AccessToken::Bearer',
    })) : (),
);
eval {
    if ($ENV{REFRESH_TOKEN}) {
        print "refreshed: ", $client->get("$service/oauth/verify")->status_line, "\n";
    } else {
        $client->request_tokens(grant_type => 'client_credentials');
        print "got: ", $client->token_string, "\n";
    }
};
print $@;
