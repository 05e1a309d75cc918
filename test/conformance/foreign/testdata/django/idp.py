"""A Django site with django-oauth-toolkit's default settings, but for those of GRACE and
PKCE. There is one user, who is always signed in.

It makes its database, prints nothing and serves at the port of its argument.
"""

import os
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import include, path

settings.configure(
    SECRET_KEY="0" * 64,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"], "OPTIONS": {"timeout": 20}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", __name__ + ".signed_in"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    USE_TZ=True,
    OAUTH2_PROVIDER={
        "PKCE_REQUIRED": True,
        "SCOPES": {"read": "Read"},
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": int(os.environ.get("GRACE", "0")),
    },
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from oauth2_provider.decorators import protected_resource  # noqa: E402
from oauth2_provider.models import get_access_token_model, get_application_model, get_refresh_token_model  # noqa: E402


def signed_in(get_response):
    def middleware(request):
        request.user = get_user_model().objects.get(username="user")
        return get_response(request)

    return middleware


@protected_resource()
def me(request):
    return HttpResponse()


def end(request):
    """Revokes every refresh token."""
    for token in get_refresh_token_model().objects.filter(revoked=None):
        token.revoke()
    return HttpResponse()


def remove(request):
    """Does what the toolkit's page of a user's tokens does, for all of them."""
    get_access_token_model().objects.all().delete()
    return HttpResponse()


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("me", me),
    path("end", end),
    path("remove", remove),
]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user("user")
    get_application_model().objects.create(
        name="client",
        client_id="client",
        client_secret=os.environ["CLIENT_SECRET"],
        client_type="confidential",
        authorization_grant_type="authorization-code",
        redirect_uris=os.environ["REDIRECT_URI"],
        skip_authorization=True,
        user=user,
    )
    call_command("runserver", "127.0.0.1:" + sys.argv[1], use_reloader=False, verbosity=0)
