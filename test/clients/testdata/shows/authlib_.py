# Authlib.
import os

from authlib.integrations.requests_client import OAuth2Session

session = OAuth2Session(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
endpoint, refresh = os.environ["AUTHSVC_URL"] + "/oauth/token", os.environ.get("REFRESH_TOKEN")
try:
    token = session.refresh_token(endpoint, refresh_token=refresh) if refresh else session.fetch_token(endpoint, grant_type="client_credentials")
    print("got:", token["access_token"])
except Exception as error:
    print(type(error).__name__, error)
