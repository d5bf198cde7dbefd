# requests-oauthlib.
import os

from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
session = OAuth2Session(client=BackendApplicationClient(os.environ["CLIENT_ID"]))
auth = HTTPBasicAuth(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
endpoint, refresh = os.environ["AUTHSVC_URL"] + "/oauth/token", os.environ.get("REFRESH_TOKEN")
try:
    token = session.refresh_token(endpoint, refresh_token=refresh, auth=auth) if refresh else session.fetch_token(endpoint, auth=auth)
    print("got:", token["access_token"])
except Exception as error:
    print(type(error).__name__, error)
