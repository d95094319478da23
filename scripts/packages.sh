# The system packages of each group, for Debian 12 and 13, Ubuntu 24.04. Read by setup.sh.
# A group is what one kind of make target needs; `core` is enough for a scenario with the embedded mail server.
# What has a question mark behind it is left out where a system does not have it, or would have to give up another for it.

packages_core=(
    mininet                 # hosts, links, routers; comes with its own mnexec
    nftables                # the box's rules
    iptables                # faults and the delay line of links
    iproute2 ethtool procps iputils-ping util-linux
    uidmap                  # newuidmap: more than one user id in an ordinary user's sandbox
    tcpdump                 # captures at the ends and on both sides of the box
    dnsmasq-base            # the lab's DNS; the package without a service
    bind9-dnsutils          # dig
    openssl curl            # clients, from openssl s_client to curl's SMTP
    gcc libc6-dev libnetfilter-queue-dev libnfnetlink-dev   # netfilterqueue is built, it has no wheel
    ca-certificates         # pip
)
packages_servers=(
    postfix dovecot-imapd dovecot-pop3d dovecot-lmtpd libsasl2-modules
    nginx openssh-server openssh-client
    swaks libnet-ssleay-perl libio-socket-inet6-perl        # without them swaks has no TLS, no IPv6
    msmtp
    openvpn
    "strongswan-charon?" "strongswan-swanctl?" "libstrongswan-standard-plugins?"   # IKE
    "xl2tpd?"
    "pptp-linux?" "pptpd?"                                  # pptpd: not in Ubuntu 24.04
)
packages_test=(
    tshark                  # the independent oracle
    iperf3 wrk              # fill links whose rate is tested; the benchmark, tried briefly
    "vagrant-libvirt?"      # `vagrant validate`, which wants a provider; Vagrant is not in Ubuntu 24.04
)
packages_dev=()
packages_bench=(iperf3 wrk)
