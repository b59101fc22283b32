using System.Security.Claims;
using System.Text.Encodings.Web;
using System.Threading.RateLimiting;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;
using Yarp.ReverseProxy.Transforms;

var builder = WebApplication.CreateBuilder(args);
var services = builder.Services;
services.AddAuthentication("login")
    .AddJwtBearer("login", options =>
    {
        options.Authority = "https://login.example";
        options.Audience = "api";
        options.MapInboundClaims = false;
    })
    .AddScheme<AuthenticationSchemeOptions, ApiKeys>("partners", null);
services.AddAuthorizationBuilder()
    .AddPolicy("login", policy => policy.AddAuthenticationSchemes("login").RequireAuthenticatedUser())
    .AddPolicy("partners", policy => policy.AddAuthenticationSchemes("partners").RequireAuthenticatedUser());
services.AddCors(options => options.AddPolicy("app", policy =>
    policy.WithOrigins("https://app.example").AllowCredentials().AllowAnyMethod().AllowAnyHeader()));
services.AddRateLimiter(options =>
{
    options.RejectionStatusCode = StatusCodes.Status429TooManyRequests;
    options.AddPolicy("app", http => PerMinute(http.User.FindFirstValue("sub"), 600));
    options.AddPolicy("partners", http => PerMinute(http.User.Identity?.Name, http.User.HasClaim("plan", "gold") ? 6000 : 60));
    options.AddPolicy("chat", http => PerMinute(http.Connection.RemoteIpAddress?.ToString(), 10));
    options.AddPolicy("web", http => PerMinute(http.Connection.RemoteIpAddress?.ToString(), 300));
});
services.AddReverseProxy()
    .LoadFromConfig(builder.Configuration.GetSection("ReverseProxy"))
    .AddTransforms(context => context.AddRequestTransform(transform =>
    {
        transform.ProxyRequest.Headers.Remove("X-User");
        if (transform.HttpContext.User.FindFirstValue("sub") is { } user) transform.ProxyRequest.Headers.Add("X-User", user);
        return ValueTask.CompletedTask;
    }));

var app = builder.Build();
app.UseCors();
app.UseAuthentication();
app.UseAuthorization();
app.UseRateLimiter();
app.MapGet("/healthz", () => "ok");
app.MapReverseProxy();
app.Run();

static RateLimitPartition<string> PerMinute(string? client, int limit) =>
    RateLimitPartition.GetSlidingWindowLimiter(client ?? "", _ => new SlidingWindowRateLimiterOptions
    {
        PermitLimit = limit,
        Window = TimeSpan.FromMinutes(1),
        SegmentsPerWindow = 60,
    });

sealed class ApiKeys(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory log, UrlEncoder encoder, IConfiguration config)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, log, encoder)
{
    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var consumer = config.GetSection("ApiKeys").GetSection(Request.Headers["X-Api-Key"].ToString());
        if (consumer["Name"] is not { } name) return Task.FromResult(AuthenticateResult.Fail("no such key"));
        var identity = new ClaimsIdentity([new(ClaimTypes.Name, name), new("plan", consumer["Plan"] ?? "")], Scheme.Name);
        return Task.FromResult(AuthenticateResult.Success(new(new(identity), Scheme.Name)));
    }
}
