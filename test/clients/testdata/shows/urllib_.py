# urllib, with its handler for HTTP Basic, which waits for a challenge unless it is told
# that the server wants a password.
import os
from urllib import error, parse, request

service, prior = os.environ["AUTHSVC_URL"], request.HTTPPasswordMgrWithPriorAuth()
prior.add_password(None, service, os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"], is_authenticated="WAIT" not in os.environ)
form = {"grant_type": "client_credentials"}
if refresh := os.environ.get("REFRESH_TOKEN"):
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
try:
    answer = request.build_opener(request.HTTPBasicAuthHandler(prior)).open(service + "/oauth/token", parse.urlencode(form).encode())
    print("got:", answer.read().decode())
except error.HTTPError as e:
    print(e, e.read().decode() if "WAIT" in os.environ else "")
