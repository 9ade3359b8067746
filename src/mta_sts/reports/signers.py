"""Which organization a signing domain stands for, as far as that can be known."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

# Whoever has an account there can have mail signed by these very names. No such list is ever complete; the one
# below has the large ones, and what it lacks is shown to the reviewer under its name.
_FREEMAIL = """
126.com 163.com abv.bg aol.com att.net bk.ru bol.com.br bluewin.ch btinternet.com centrum.cz charter.net
comcast.net cox.net daum.net disroot.org email.cz fastmail.com fastmail.fm foxmail.com free.fr freenet.de gmail.com
googlemail.com hanmail.net hey.com icloud.com inbox.lv inbox.ru interia.pl internet.ru laposte.net libero.it
list.ru mac.com mail.com mail.de mail.ru mailbox.org me.com msn.com naver.com o2.pl onet.pl orange.fr outlook.com
pm.me posteo.de proton.me protonmail.ch protonmail.com qq.com rambler.ru rediffmail.com riseup.net
rocketmail.com sbcglobal.net seznam.cz sfr.fr sina.com sky.com sohu.com t-online.de terra.com.br tiscali.it
tuta.com tuta.io tutanota.com tutanota.de ukr.net uol.com.br verizon.net virgilio.it wanadoo.fr web.de wp.pl
ya.ru yeah.net ymail.com zoho.com zohomail.com
"""
_FREEMAIL_IN_MANY_COUNTRIES = ("gmx.", "hotmail.", "live.", "outlook.", "yahoo.", "yandex.")


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415  its list takes a while, and few runs need it

    # Without the list's private part: whoever rents names below one domain there (github.io) is not told apart.
    return PublicSuffixList(only_icann=True)


@lru_cache(maxsize=8192)
def registrable_domain(name: str) -> str:
    """Return the domain that somebody registered, at or above `name`; empty for a public suffix such as co.uk."""
    return _suffixes().privatesuffix(name) or ""


def tells_who(signer: str) -> bool:
    """Tell whether a signature by this domain says which organization sent a mail.

    It does not for a public suffix, nor for a domain that signs for anybody who takes an account. A subdomain of such
    a domain (corp.mail.ru) is the provider's own.
    """
    own = registrable_domain(signer)
    return bool(own) and not (
        signer == own and (own in _FREEMAIL.split() or own.startswith(_FREEMAIL_IN_MANY_COUNTRIES))
    )
