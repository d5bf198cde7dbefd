# What docs/clients.md says about requests-oauthlib, besides the code there. It prints one
# line for each thing that it tries.
import os

from oauthlib.oauth2 import BackendApplicationClient, InsecureTransportError, OAuth2Error
from requests_oauthlib import OAuth2Session

service = os.environ["AUTHSVC_URL"]
key, secret = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]


def session(scope=None):
    return OAuth2Session(client=BackendApplicationClient(key, scope=scope))


try:
    session().fetch_token(service + "/oauth/token", client_secret=secret)
except InsecureTransportError as error:
    print("http:", error)
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

# The credentials in the body.
s = session()
token = s.fetch_token(service + "/oauth/token", client_secret=secret, include_client_id=True)
s.refresh_token(service + "/oauth/token", client_id=key, client_secret=secret)
print("body:", " ".join(token["scope"]))

# A refresh that does not authenticate.
try:
    s.refresh_token(service + "/oauth/token")
except OAuth2Error as error:
    print("refresh:", error)

# Scopes.
token = session("orders.read").fetch_token(service + "/oauth/token", client_secret=secret)
print("named:", " ".join(token["scope"]))
try:
    session("default").fetch_token(service + "/oauth/token", client_secret=secret)
except Warning as warning:
    print("default:", warning)
