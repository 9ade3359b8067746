// CloudFront Function (viewer request): the host asked for decides which domain's policy object is read.
// It holds no policy text and no list of domains, so it never has to change while policies do.
function handler(event) {
    var request = event.request;
    var host = request.headers.host ? request.headers.host.value.toLowerCase().split(':')[0] : '';
    if (request.uri !== '/.well-known/mta-sts.txt' || host.indexOf('mta-sts.') !== 0) {
        return { statusCode: 404, statusDescription: 'Not Found' };
    }
    request.uri = '/' + host.slice('mta-sts.'.length) + '/.well-known/mta-sts.txt';
    request.querystring = {};
    return request;
}
