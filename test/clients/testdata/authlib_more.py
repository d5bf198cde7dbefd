# What docs/clients.md says about Authlib, besides the code there. It prints one line for
# each thing that it tries.
import os

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from requests import HTTPError

service = os.environ["AUTHSVC_URL"]
key, secret = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]

# The credentials in the body, on every endpoint.
session = OAuth2Session(
    key, secret,
    token_endpoint_auth_method="client_secret_post",
    revocation_endpoint_auth_method="client_secret_post",
)
token = session.fetch_token(service + "/oauth/token", grant_type="client_credentials")
token = session.refresh_token(service + "/oauth/token", refresh_token=token["refresh_token"])
print("body:", token["scope"])

# A refused introspection or revocation does not raise.
answer = session.introspect_token(service + "/oauth/introspect", token=token["access_token"])
print("introspect:", answer.status_code, answer.json()["error_code"])
wrong = OAuth2Session(key, "another-" + secret)
answer = wrong.revoke_token(service + "/oauth/revoke", token=token["refresh_token"])
print("revoke:", answer.status_code, answer.json()["error_code"])

# A refused refresh does.
session.revoke_token(service + "/oauth/revoke", token=token["refresh_token"])
try:
    session.refresh_token(service + "/oauth/token", refresh_token=token["refresh_token"])
except OAuthError as error:
    print("refresh:", error)

# The text of a 5xx does not give its cause; the answer does.
input()  # until the store is unavailable
try:
    session.fetch_token(service + "/oauth/token", grant_type="client_credentials")
except HTTPError as error:
    print("5xx:", "APIG.0613" in str(error), error.response.json()["error_code"], "Retry-After" in error.response.headers)
