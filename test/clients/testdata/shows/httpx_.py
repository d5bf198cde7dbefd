# httpx, which has no OAuth of its own.
import os

import httpx

form = {"grant_type": "client_credentials"}
if refresh := os.environ.get("REFRESH_TOKEN"):
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
try:
    answer = httpx.post(os.environ["AUTHSVC_URL"] + "/oauth/token", auth=(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]), data=form)
    answer.raise_for_status()
    print("got:", answer.json()["access_token"])
except httpx.HTTPStatusError as error:
    print(error)
